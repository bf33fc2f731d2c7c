"""How the values of a process are checked: types with limits, and what no type can say."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from stages.errors import ConfigError

Text = Annotated[str, Field(strict=True)]
Number = Annotated[float, Field(strict=True)]
Positive = Annotated[float, Field(strict=True, gt=0)]
NotNegative = Annotated[float, Field(strict=True, ge=0)]
Share = Annotated[float, Field(strict=True, gt=0, lt=1)]
ShareOrAll = Annotated[float, Field(strict=True, gt=0, le=1)]
Count = Annotated[int, Field(strict=True, gt=0)]

CHECKS = ConfigDict(extra="forbid", allow_inf_nan=False)


def require(holds: bool, name: str, value: object, allowed: str) -> None:
    """Refuse what no single field shows; see `stages.settings` for the rest of the text."""
    if not holds:
        raise ConfigError(f"{name} is {value}; allowed: {allowed}")

"""What pydantic refuses is said with key, value, what is allowed, and the nearest known name."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from stages.errors import ConfigError
from stages.settings import describe_validation_error, format_table_key


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    size_um: Annotated[float, Field(gt=0)] = 1.0
    memory: Annotated[str, Field(pattern="^[0-9]+GB$", description="Like 2GB.")] = "1GB"

    @model_validator(mode="after")
    def _is_small(self) -> Table:
        if self.size_um > 10:
            raise ConfigError(f"size_um is {self.size_um}; allowed: small ones")
        return self


class Tables(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    tiles: Table = Table()
    places: tuple[Table, ...] = Field(default=(), strict=False)
    left_out: Table | None = None


CASES = [
    # values, what is said by paths, what is said by TOML tables
    ({"tiles": {"size_um": 0}}, "tiles.size_um is 0; allowed: greater than 0", "[tiles] size_um"),
    ({"tiles": {"Size_um": 1}}, "tiles.Size_um is not a setting; did you mean size_um?", "[tiles]"),
    ({"memory": "1GB"}, "memory is not a setting; did you mean tiles.memory?", "[tiles] memory?"),
    ({"nothing": 1}, "nothing is not a setting; known are tiles, places, left_out", "known are"),
    ({"tiles": {"memory": "lots"}}, "tiles.memory is 'lots'; allowed: Like 2GB.", "[tiles] memory"),
    ({"tiles": {"size_um": 11.0}}, "tiles.size_um is 11.0; allowed: small ones", "[tiles] size_um"),
    (
        {"places": [{}, {"size_um": "1"}]},
        "places[1].size_um is '1'; allowed: a",
        "[places] [1].",
    ),
    ({"left_out": {"sizes": 1}}, "left_out.sizes is not a setting; did you mean size_um?", "[left"),
]


@pytest.mark.parametrize(("values", "said", "in_tables"), CASES, ids=[case[1] for case in CASES])
def test_a_refusal_in_words(values: dict[str, object], said: str, in_tables: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Tables.model_validate(values)
    assert describe_validation_error(Tables, caught.value).startswith(said)
    assert in_tables in describe_validation_error(Tables, caught.value, format_table_key)


def test_the_unknown_comes_before_the_rest() -> None:
    with pytest.raises(ValidationError) as caught:
        Tables.model_validate({"tiles": {"size_um": 0}, "tile": {}})
    first, second = describe_validation_error(Tables, caught.value).split("; tiles")
    assert first == "tile is not a setting; did you mean tiles?"
    assert second.startswith(".size_um is 0")

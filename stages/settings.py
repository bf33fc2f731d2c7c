"""Settings that are checked by pydantic, and its findings in the words of hotscan.

in       a pydantic model or dataclass, and the plain values that it refused
out      one line that names every key, its value, and what is allowed
promise  a name that is unknown comes with the nearest known one
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from stages.errors import ConfigError

M = TypeVar("M", bound=BaseModel)

Location = tuple[str | int, ...]
"""Names of tables and places in arrays that lead to a key, and the key."""

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
_MISSING = ("missing", "missing_argument")
_ALLOWED = {"dataclass_type": "a table", "tuple_type": "an array"}


class Settings(BaseModel):
    """A table of settings: frozen, nothing unknown, nothing converted from another type."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )


def validate_settings(model: type[M], values: Mapping[str, Any]) -> M:
    """Return a table of settings, or of tables.

    Raises
    ------
    ConfigError
        It names each key that is wrong, its value, and what is allowed.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(describe_validation_error(model, error, format_table_key)) from None


def format_key(location: Location) -> str:
    """Write a location as a path.

    Examples
    --------
    >>> format_key(("corners", 1, "dose"))
    'corners[1].dose'
    """
    parts = (f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return "".join(parts).removeprefix(".")


def format_table_key(location: Location) -> str:
    """Write a location as a key of a TOML table.

    Examples
    --------
    >>> format_table_key(("scores", "threshold")), format_table_key(("workers",))
    ('[scores] threshold', 'workers')
    """
    if len(location) < 2:
        return format_key(location)
    return f"[{location[0]}] {format_key(location[1:])}"


def describe_validation_error(
    kind: type, error: ValidationError, write_key: Callable[[Location], str] = format_key
) -> str:
    """Say what is wrong with the values that `kind`, a model or dataclass, refused."""
    # A name that is unknown is often the one that is missing: it comes first, with its advice.
    found = sorted(error.errors(), key=lambda details: details["type"] not in _UNKNOWN)
    return "; ".join(_describe(kind, details, write_key) for details in found)


def _describe(kind: type, details: ErrorDetails, write_key: Callable[[Location], str]) -> str:
    location = details["loc"]
    key = write_key(location)
    if details["type"] in _UNKNOWN:
        return f"{key} is not a setting; {_suggest(kind, location, write_key)}"
    if details["type"] in _MISSING:
        return f"{key} is missing; add it"
    reason = details.get("ctx", {}).get("error")
    if isinstance(reason, ConfigError):  # of a check of ours, which names the key in its table
        in_table = _fields_at(kind, location) is not None
        return write_key((*location, str(reason))) if in_table else str(reason)
    allowed = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if details["type"] == "string_pattern_mismatch":
        fields = _fields_at(kind, location[:-1]) or {}
        allowed = fields[str(location[-1])].description or allowed
    return f"{key} is {details['input']!r}; allowed: {_ALLOWED.get(details['type'], allowed)}"


def _suggest(kind: type, location: Location, write_key: Callable[[Location], str]) -> str:
    """Say what an unknown name was probably meant to be."""
    name, known = str(location[-1]), _fields_at(kind, location[:-1]) or {}
    if close := difflib.get_close_matches(name.lower(), known, n=1):
        return f"did you mean {close[0]}?"
    for table in _fields_at(kind, ()) or {}:
        if name in (_fields_at(kind, (table,)) or {}):
            return f"did you mean {write_key((table, name))}?"
    return f"known are {', '.join(known)}"


def _fields_at(kind: Any, location: Location) -> Mapping[str, FieldInfo] | None:
    """Return the fields of the table at `location` below `kind`; None where there is no table."""
    if get_origin(kind) in (Union, UnionType):  # a table that may be left out
        kind = next(each for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is tuple:
        return _fields_at(get_args(kind)[0], location[1:]) if location else None
    fields: Mapping[str, FieldInfo] | None = getattr(kind, "__pydantic_fields__", None)
    if fields is None or not location:
        return fields
    field = fields.get(str(location[0]))
    return None if field is None else _fields_at(field.annotation, location[1:])

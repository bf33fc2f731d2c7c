"""Commands whose options are the fields of a dataclass.

in       a function of one options value
out      the function that Typer reads: a parameter for each field
promise  an option is declared once, however many commands share it
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, get_type_hints

O = TypeVar("O")  # noqa: E741

LAST = {"last": True}
"""Metadata of a field whose option the help lists after all others."""


def takes(options: type[O]) -> Callable[[Callable[[O], None]], Callable[..., None]]:
    """Turn a function of an options value into a command with an option for each field.

    Parameters
    ----------
    options
        A dataclass whose fields are annotated as Typer's parameters are.
    """

    def decorate(body: Callable[[O], None]) -> Callable[..., None]:
        def command(**given: Any) -> None:
            body(options(**given))

        hints = get_type_hints(options, include_extras=True)
        fields = sorted(
            dataclasses.fields(options),  # type: ignore[arg-type]
            key=lambda field: field.metadata == LAST,
        )
        parameters = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=hints[field.name],
                default=(
                    inspect.Parameter.empty
                    if field.default is dataclasses.MISSING
                    else field.default
                ),
            )
            for field in fields
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {field.name: hints[field.name] for field in fields}
        command.__name__, command.__doc__ = body.__name__, body.__doc__
        return command

    return decorate

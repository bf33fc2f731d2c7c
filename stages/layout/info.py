"""The contents of a layout file, and the choice of its top cell and layers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stages.contracts import Layer
from stages.errors import ConfigError

EVERY_TOP = "*"
"""Selects all top cells, side by side: files of clips have thousands of them."""

CONTEXT_CELL = "$$$CONTEXT_INFO$$$"
"""Cell in which KLayout keeps cell parameters: it places all cells and draws nothing."""


@dataclass(frozen=True, slots=True)
class LayoutInfo:
    """The facts that ``hotscan info`` prints of a file."""

    dbu_nm: float
    """Database unit, in nm."""
    cells: tuple[str, ...]
    """Names of all cells, in the order of the file."""
    top_cells: tuple[str, ...]
    """Cells that no other cell places."""
    layers: dict[str, int]
    """Shapes as drawn (each cell once, repetitions folded), by layer/datatype."""
    instances: int
    """References as drawn, arrays counted once."""
    extents_um: dict[str, tuple[float, float, float, float]]
    """Box of each top cell, all layers, in um."""
    warnings: tuple[str, ...] = ()
    """Messages for the user about harmless faults."""


def choose_top(names: Sequence[str], tops: Sequence[str], name: str | None) -> str:
    """Return the cell called `name`, or with None the only top cell.

    Raises
    ------
    ConfigError
        There is no such cell, or several top cells and no name; the message lists them.
    """
    if name is not None:
        if name not in names:
            raise ConfigError(f"there is no cell {name!r}; cells are {_join_names(names)}")
        return name
    if len(tops) != 1:
        raise ConfigError(
            f"the layout has {len(tops)} top cells; choose one with --cell: {_join_names(tops)}"
        )
    return tops[0]


def require_layers(layers: Sequence[Layer], present: Sequence[Layer]) -> None:
    """Refuse layers on which a file draws nothing.

    Raises
    ------
    ConfigError
        The message lists the layers of the file.
    """
    missing = ", ".join(str(layer) for layer in layers if layer not in present)
    if missing:
        names = ", ".join(str(layer) for layer in present)
        raise ConfigError(f"the layout has no layer {missing}; layers present: {names or 'none'}")


def round_dbu(dbu_nm: float) -> float:
    """Round a database unit to nine digits: 1e-9 / 1e-9 is not exactly 1 in every file."""
    return float(f"{dbu_nm:.9g}")


def _join_names(names: Iterable[str], most: int = 20) -> str:
    names = sorted(set(names))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

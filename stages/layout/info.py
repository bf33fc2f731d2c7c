"""What a layout file holds, and which of its cells and layers a scan takes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stages.contracts import Layer
from stages.errors import ConfigError

EVERY_TOP = "*"
"""Stands for all top cells side by side: files of cut-out clips have thousands of them."""

CONTEXT_CELL = "$$$CONTEXT_INFO$$$"
"""Where KLayout keeps the parameters of its cells: it places them all, and draws nothing."""


@dataclass(frozen=True, slots=True)
class LayoutInfo:
    """What ``hotscan info`` tells of a file."""

    dbu_nm: float
    """Database unit, in nm."""
    cells: tuple[str, ...]
    """Names of all cells."""
    top_cells: tuple[str, ...]
    """Cells that no other cell places."""
    layers: dict[str, int]
    """Shapes as drawn (each cell once, repetitions folded), by layer/datatype."""
    instances: int
    """References as drawn, arrays counted once."""
    extents_um: dict[str, tuple[float, float, float, float]]
    """Box of each top cell, all layers, in um."""
    warnings: tuple[str, ...] = ()
    """What the reader noticed, in words for the user."""


def choose_top(names: Sequence[str], tops: Sequence[str], name: str | None) -> str:
    """Return the cell of that name, and with no name the only top cell.

    Raises
    ------
    ConfigError
        There is no such cell, or there are several and none was named; it lists them.
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
        It lists those that are there.
    """
    missing = ", ".join(str(layer) for layer in layers if layer not in present)
    if missing:
        names = ", ".join(str(layer) for layer in present)
        raise ConfigError(f"the layout has no layer {missing}; layers present: {names or 'none'}")


def round_dbu(dbu_nm: float) -> float:
    """Return a database unit without float noise: 1e-9 / 1e-9 is not 1 in every file."""
    return float(f"{dbu_nm:.9g}")


def _join_names(names: Iterable[str], most: int = 20) -> str:
    names = sorted(set(names))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more

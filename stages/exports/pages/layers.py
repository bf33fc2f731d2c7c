"""The page of a scan of several layers: which model judged each, and what it found.

in       `LayersPage`
out      one HTML page that needs no network, as text
promise  a layer that is incomplete, or was not scanned, is shown as such
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stages.exports.pages.environment import make_environment

MOST_LISTED = 4096
"""More hotspots than the page has room for."""


@dataclass(frozen=True, slots=True)
class LayersPage:
    """The content of the page."""

    layout: str
    layers: Sequence[Mapping[str, Any]]
    """As ``layers`` of ``metrics.json``; ``shown`` is the layer with its name."""
    absent: Sequence[str]
    """Layers that were asked for and are not in the file."""
    hotspots: Sequence[Mapping[str, Any]]
    """Rows of ``hotspots.csv``, the worst of each layer first; at least `MOST_LISTED` if so many
    are there."""
    complete: bool


def render_layers(page: LayersPage) -> str:
    """Return the page as HTML."""
    return (
        make_environment({})
        .get_template("layers.html")
        .render(page=page, total=sum(layer["hotspots"] for layer in page.layers))
    )

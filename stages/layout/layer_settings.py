"""The table ``[layout]``: which layers are read, by number or by name, and where.

in       the table, as TOML or the command line gave it
out      `LayoutConfig`, with numbers in place of names, and the names beside them
promise  what is returned does not depend on the file that the names came from
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from stages.contracts import Layer
from stages.errors import ConfigError
from stages.layout.layer_names import CHANNELS, LayerNames
from stages.layout.layer_names import load_names as load_known_names
from stages.settings import Settings, validate_settings

Layers = Annotated[tuple[str, ...], Field(strict=False)]
Coordinates = Annotated[tuple[float, float, float, float], Field(strict=False)]


def parse_layer_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return layers as they are written, layer/datatype or several with + between, each once."""
    split = [[str(Layer.parse(name)) for name in each.split(CHANNELS)] for each in names]
    if len({layer for each in split for layer in each}) < sum(map(len, split)):
        raise ValueError("each layer once")
    return tuple(CHANNELS.join(each) for each in split)


class NameSettings(Settings):
    """Where the names of layers are from."""

    tech: Literal["sky130A", "gf180mcu", "ihp-sg13g2", "nangate45", "asap7"] | None = None
    """Technology whose names of layers may be used."""
    lyp: str | None = None
    """File of layer properties of KLayout, whose names may be used."""
    names: dict[str, str] = Field(default_factory=dict)
    """Layer/datatype of each name; those of tech and lyp are added."""

    @field_validator("names")
    @classmethod
    def _stand_for_layers(cls, names: dict[str, str]) -> dict[str, str]:
        return {name: str(Layer.parse(layer)) for name, layer in names.items()}


class LayoutConfig(NameSettings):
    """What is read of the layout, and where it is scanned."""

    cell: str | None = None
    """Top cell to scan; needed when the file has several."""
    layers: Layers = ()
    """Layers to scan, each judged by itself, as layer/datatype or by name; channels of one picture
    as 67/20+68/20."""
    all_metals: bool = False
    """Whether every metal that has a name and shapes is scanned, too."""
    exclude: Layers = ()
    """Layers, as layer/datatype, whose shapes exclude the clips that they cover."""
    roi_um: Coordinates | None = None
    """Region to scan, x0, y0, x1, y1 in um; the whole extent when not given."""
    strict: bool = False
    """Whether a warning of the reader is an error."""

    @field_validator("layers", "exclude")
    @classmethod
    def _are_layers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return parse_layer_names(names)

    @property
    def channels(self) -> tuple[str, ...]:
        """The layers of one picture, in the order of the model's channels.

        Raises
        ------
        ConfigError
            When several layers are to be judged.
        """
        if len(self.layers) > 1:
            raise ConfigError(
                f"{len(self.layers)} layers are given ({', '.join(self.layers)}) where one is "
                f"judged; channels of one picture are written {CHANNELS.join(self.layers)}"
            )
        return tuple(self.layers[0].split(CHANNELS)) if self.layers else ()

    @property
    def several(self) -> bool:
        """Whether more than one layer is to be judged, each by itself."""
        return len(self.layers) > 1 or self.all_metals

    @property
    def layer_names(self) -> LayerNames:
        """The names of layers."""
        return LayerNames(self.names)

    @field_validator("roi_um")
    @classmethod
    def _has_area(
        cls, roi: tuple[float, float, float, float] | None
    ) -> tuple[float, float, float, float] | None:
        if roi is not None and not (roi[0] < roi[2] and roi[1] < roi[3]):
            raise ValueError("x0,y0,x1,y1 with x0 < x1 and y0 < y1")
        return roi


def load_names(given: Mapping[str, Any]) -> LayerNames:
    """Return the names of layers that a table ``[layout]`` gives; a None stands for "not given".

    Raises
    ------
    ConfigError
        When the technology is unknown, or the file cannot be read.
    """
    keys = [key for key in NameSettings.model_fields if given.get(key) is not None]
    asked = validate_settings(NameSettings, {key: given[key] for key in keys})
    found = load_known_names(asked.tech, Path(asked.lyp) if asked.lyp is not None else None)
    return LayerNames({**asked.names, **found.layer_of})


def number_layers(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the table ``[layout]`` with numbers in place of names, and the names beside them.

    The result does not depend on the file of names any more.
    """
    names = load_names(table)
    numbered = {key: value for key, value in table.items() if key not in ("tech", "lyp", "names")}
    if not names.layer_of:
        return numbered
    for key in ("layers", "exclude"):
        if isinstance(layers := table.get(key), list | tuple):
            numbered[key] = [names.find_channels(str(each)) for each in layers]
    return {**numbered, "names": dict(names.layer_of)}

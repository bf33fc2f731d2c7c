"""Names of layers: of public technologies, and of KLayout's layer properties files.

in       the name of a technology, or the bytes of a ``.lyp`` file
out      `LayerNames`: name to layer/datatype and back
promise  a name that is unknown or stands for several layers is an error that lists what is near;
         a layer properties file cannot make the reader fetch, expand or recurse
"""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.parsers import expat

from stages.contracts import Layer
from stages.errors import ConfigError

TABLES = Path(__file__).parent / "technologies"
"""A table for each technology; ``docs/tools/make_layer_tables.py`` writes them."""
TECHNOLOGIES = ("sky130A", "gf180mcu", "ihp-sg13g2", "nangate45", "asap7")
METAL = re.compile(r"(top)?m(et(al)?)?(\d+|top)", re.IGNORECASE)
"""Names of the layers that ``--all-metals`` means: met1, Metal2, M3, TopMetal1, MetalTop."""
CHANNELS = "+"
"""Joins the layers that are channels of one picture."""

_DRAWING = ".drawing"
_SOURCE = re.compile(r"(?P<name>[^/]*?)\s*(?P<layer>\d+)/(?P<datatype>\d+)(@\d+)?")
_NUMBER = re.compile(r"(?<![\w/.])\d+/\d+(?![\w/.])")
_MOST_BYTES, _MOST_DEPTH = 16_000_000, 100


@dataclass(frozen=True)
class LayerNames:
    """Names of layers, several of which may stand for one layer."""

    layer_of: Mapping[str, str]
    """Name to layer/datatype."""

    @cached_property
    def name_of(self) -> dict[str, str]:
        """The first name of each layer/datatype."""
        return {layer: name for name, layer in reversed([*self.layer_of.items()])}

    @property
    def metals(self) -> tuple[str, ...]:
        """The metals, as layer/datatype, in the order of the table."""
        named = (layer for name, layer in self.layer_of.items()
                 if METAL.fullmatch(name.removesuffix(_DRAWING)))  # fmt: skip
        return tuple(dict.fromkeys(named))

    def find(self, name: str) -> str:
        """Return the layer/datatype of a name; of a layer/datatype, itself.

        Case and an ending ``.drawing`` make no difference where no name is equal.

        Raises
        ------
        ConfigError
            When no layer has this name, or several have.
        """
        if "/" in name or not self.layer_of:
            return str(Layer.parse(name))
        wanted = _simplify(name)
        alike = [name] if name in self.layer_of else [
            other for other in self.layer_of if _simplify(other) == wanted
        ]  # fmt: skip
        found = dict.fromkeys(self.layer_of[other] for other in alike)
        if len(found) == 1:
            return next(iter(found))
        if found:
            raise ConfigError(
                f"layer {name!r} may be {', '.join(f'{self.layer_of[o]} ({o})' for o in alike)}; "
                "give the layer/datatype"
            )
        near = difflib.get_close_matches(wanted, map(_simplify, self.layer_of), n=5, cutoff=0.5)
        names = near or list(self.layer_of)[:20]
        raise ConfigError(
            f"no layer is named {name!r}; names are {', '.join(names)}"
            + (", ..." if near or len(self.layer_of) > len(names) else "")
        )

    def find_channels(self, layer: str) -> str:
        """Return the layer/datatype of a layer; of channels, like ``li1+met1``, of each."""
        return CHANNELS.join(map(self.find, layer.split(CHANNELS)))

    def show(self, layer: str) -> str:
        """Return a layer, or channels of a picture, with its name: ``68/20 (met1)``."""
        return _NUMBER.sub(self._add_name, layer)

    def _add_name(self, number: re.Match[str]) -> str:
        name = self.name_of.get(number[0])
        return f"{number[0]} ({name})" if name else number[0]


NO_NAMES = LayerNames({})


def _simplify(name: str) -> str:
    return name.casefold().removesuffix(_DRAWING)


def load_names(tech: str | None, lyp: Path | None) -> LayerNames:
    """Return the names of a technology and of a layer properties file; the file's go first.

    Raises
    ------
    ConfigError
        When the technology is unknown, or the file cannot be read.
    """
    known = dict(load_technology(tech).layer_of) if tech is not None else {}
    if lyp is not None:
        try:
            known |= read_layer_properties(lyp.read_bytes()).layer_of
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"--lyp {lyp} cannot be read: {reason}") from error
        except ConfigError as error:
            raise ConfigError(f"--lyp {lyp}: {error}") from None
    return LayerNames(known)


def load_technology(name: str) -> LayerNames:
    """Return the layers of a public technology.

    Raises
    ------
    ConfigError
        When there is none of this name.
    """
    if name not in TECHNOLOGIES:
        known = ", ".join(TECHNOLOGIES)
        raise ConfigError(f"technology {name!r} is unknown; choose one of {known}")
    with (TABLES / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(line for line in file if not line.startswith("#"))
        return LayerNames({row["name"]: row["layer"] for row in rows})


def read_layer_properties(content: bytes) -> LayerNames:
    """Return the names in a layer properties file of KLayout, its groups included.

    Raises
    ------
    ConfigError
        When it is too large or too deep, is no XML, declares a document type, or names no layer.
    """
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"it has {len(content):,} bytes; the limit is {_MOST_BYTES:,}")
    try:
        entries = list(_parse_entries(content))
    except (expat.ExpatError, ValueError, LookupError) as error:  # or no such encoding
        raise ConfigError(f"it is not XML as KLayout writes it: {error}") from error
    found: dict[str, str] = {}
    for name, source in entries:
        layer = _SOURCE.fullmatch(source.strip())
        if layer is None:  # a wildcard, or a layer that has only a name
            continue
        number = f"{int(layer['layer'])}/{int(layer['datatype'])}"
        shown = re.sub(rf"\s*-?\s*{re.escape(number)}$", "", name.strip()) or layer["name"]
        if shown:
            found.setdefault(shown, str(Layer.parse(number)))
    if not found:
        raise ConfigError("it names no layer; give a layer properties file (.lyp) of KLayout")
    return LayerNames(found)


def _parse_entries(content: bytes) -> Iterable[tuple[str, str]]:
    """Return (name, source) of each entry; without entities, which need a document type."""
    parser = expat.ParserCreate()
    entries: list[dict[str, str]] = []
    open_entries: list[dict[str, str]] = []
    path: list[str] = []

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type, which no layer properties file has")

    def start(tag: str, _: object) -> None:
        path.append(tag)
        if len(path) > _MOST_DEPTH:
            raise ValueError(f"elements are nested over {_MOST_DEPTH} deep")
        if tag in ("properties", "group-members"):
            open_entries.append({"name": "", "source": ""})
            entries.append(open_entries[-1])

    def end(tag: str) -> None:
        path.pop()
        if tag in ("properties", "group-members"):
            open_entries.pop()

    def text(part: str) -> None:
        if open_entries and path[-1] in ("name", "source"):
            open_entries[-1][path[-1]] += part

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler = text
    parser.Parse(content, True)
    return ((entry["name"], entry["source"]) for entry in entries)

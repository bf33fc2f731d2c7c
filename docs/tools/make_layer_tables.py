"""Write stages/layout/technologies/*.csv: names and numbers of layers of public technologies.

Run as ``python -m docs.tools.make_layer_tables FOLDER`` with the files of `SOURCES`, by their last
name, in FOLDER. Drawn layers are kept, without those for labels, pins and masks.
"""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stages.layout.layer_names import TABLES

Rows = Iterator[tuple[str, str]]


def read_sky130(text: str) -> Rows:
    """Yield what is drawn, of the table in the documentation of the PDK."""
    for row in csv.DictReader(text.splitlines()):
        if "drawing" in (row["Purpose"] or ""):
            yield row["Layer name"], row["GDS layer:datatype"].replace(":", "/")


def read_klayout(text: str) -> Rows:
    """Yield the nets and vias of the layer map of a KLayout technology."""
    for name, purpose, layer in re.findall(r"'(\w+)(?:\.(\w+))? : (\d+/\d+)'", text):
        if purpose in ("", "NET", "VIA"):
            yield name, layer


def read_stream_map(text: str) -> Rows:
    """Yield the nets and vias of a stream map."""
    for line in text.splitlines():
        parts = line.split()
        if len(parts) == 4 and {"NET", "VIA"} & set(parts[1].split(",")):
            yield parts[0], f"{parts[2]}/{parts[3]}"


def read_drawing_map(text: str) -> Rows:
    """Yield what is drawn, of lines ``name purpose layer datatype``."""
    for line in text.splitlines():
        name, purpose, layer, datatype = line.split()
        if purpose == "drawing":
            yield name, f"{layer}/{datatype}"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a table is from."""

    repository: str
    path: str
    commit: str
    licence: str
    read: Callable[[str], Rows]


SOURCES = {
    "sky130A": Source(
        "google/skywater-pdk", "docs/rules/gds_layers.csv",
        "f2838cf382744b34705610346ae7eff9f7a54966", "Apache-2.0", read_sky130,
    ),
    "gf180mcu": Source(
        "The-OpenROAD-Project/OpenROAD-flow-scripts",
        "flow/platforms/gf180/KLayout/gf180mcu_6LM_1TM_9K_7t.lyt",
        "167109a388d1e93cdf563abc3ef037e04ec034ce", "Apache-2.0", read_klayout,
    ),
    "ihp-sg13g2": Source(
        "IHP-GmbH/IHP-Open-PDK", "ihp-sg13g2/libs.tech/klayout/tech/sg13g2.map",
        "374edc55f71cc68d183f12cba96426e839425884", "Apache-2.0", read_stream_map,
    ),
    "nangate45": Source(
        "VLSIDA/OpenRAM", "technology/freepdk45/tf/layers.map",
        "3c9821991be652f581ba6c192d417c867a181161", "BSD-3-Clause", read_drawing_map,
    ),
    "asap7": Source(
        "The-OpenROAD-Project/OpenROAD-flow-scripts", "flow/platforms/asap7/KLayout/asap7.lyt",
        "1bba495339a949d6b7800245360715aaf9e4416e", "BSD-3-Clause", read_klayout,
    ),
}  # fmt: skip


def make_table(name: str, text: str) -> str:
    """Return the table of a technology, from the text of its source."""
    source = SOURCES[name]
    layers: dict[str, str] = {}
    for row, layer in source.read(text):
        layers.setdefault(row, layer)
    order = sorted(layers, key=lambda row: [int(part) for part in layers[row].split("/")])
    return "\n".join([
        f"# Made by docs/tools/make_layer_tables.py from {source.path}",
        f"# of https://github.com/{source.repository} at {source.commit} ({source.licence}).",
        "name,layer", *(f"{row},{layers[row]}" for row in order), "",
    ])  # fmt: skip


def main(folder: Path) -> None:
    """Write the tables."""
    for name, source in SOURCES.items():
        text = (folder / Path(source.path).name).read_text(encoding="utf-8")
        (TABLES / f"{name}.csv").write_text(make_table(name, text), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Names of layers: the tables against real files, and files of names that mean harm."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from docs.tools.make_layer_tables import SOURCES, make_table
from pipeline.layout.ingest import read_info
from stages.errors import ConfigError
from stages.layout.layer_names import (
    TABLES,
    TECHNOLOGIES,
    LayerNames,
    load_technology,
    read_layer_properties,
)

ENTRY = "<properties><name>{}</name><source>{}</source>{}</properties>"


def lyp(*entries: tuple[str, ...]) -> bytes:
    body = "".join(ENTRY.format(*entry, *[""] * (3 - len(entry))) for entry in entries)
    return f'<?xml version="1.0"?><layer-properties>{body}</layer-properties>'.encode()


@pytest.mark.parametrize("tech", TECHNOLOGIES)
def test_every_technology_has_its_metals_and_its_source(tech: str) -> None:
    names = load_technology(tech)
    assert len(names.metals) >= 5
    assert names.find(names.name_of[names.metals[0]].upper()) == names.metals[0]
    source = SOURCES[tech]
    head = (TABLES / f"{tech}.csv").read_text().splitlines()[:2]
    assert source.path in head[0]
    assert f"{source.repository} at {source.commit}" in head[1]
    assert all(re.fullmatch(r"\d+/\d+", layer) for layer in names.layer_of.values())
    assert list(SOURCES) == list(TECHNOLOGIES)


@pytest.mark.parametrize(
    ("tech", "file", "named"),
    [
        ("ihp-sg13g2", "ihp_sram_2048x64.gds", {"Metal1", "Via1", "Metal2", "Via2", "Metal3"}),
        ("nangate45", "nangate45_cells.gds", {"active", "poly", "contact", "metal1"}),
        ("asap7", "asap7_cells.gds", {"GATE", "V0", "M1", "V1", "M2"}),
        ("sky130A", "sky130_bd_sram_cells.gds", {"diff", "poly", "li1", "mcon", "met1", "via"}),
    ],
)
def test_a_real_file_has_the_layers_that_its_technology_names(
    tech: str, file: str, named: set[str], shared_data: Callable[[str], Path]
) -> None:
    info, _ = read_info(shared_data(f"layouts/{file}"))
    names = load_technology(tech)
    assert named <= {names.name_of.get(layer) for layer in info.layers}


def test_a_table_is_made_from_its_source() -> None:
    source = "'M1 : 19/0';'M1.LABEL : 11/2';'V0.VIA : 18/0';'V0.PIN : 3/0'"
    assert make_table("asap7", source).splitlines()[2:] == ["name,layer", "V0,18/0", "M1,19/0"]
    text = "Metal1  NET,VIA  8  0\nNAME  Metal1/PIN  8  25\n"
    assert make_table("ihp-sg13g2", text).splitlines()[3:] == ["Metal1,8/0"]


def test_names_are_found_and_shown() -> None:
    names = LayerNames({"met1.drawing": "68/20", "met1.pin": "68/16", "li1": "67/20", "LI1": "1/0"})
    assert names.find("MET1") == "68/20"
    assert names.find("li1") == "67/20"
    assert names.find("5/0") == "5/0"
    assert names.show("67/20+68/20: in a/1/0 and 9/9") == (
        "67/20 (li1)+68/20 (met1.drawing): in a/1/0 and 9/9"
    )
    with pytest.raises(ConfigError, match=r"'Li1' may be 67/20 \(li1\), 1/0 \(LI1\); give the lay"):
        names.find("Li1")
    with pytest.raises(ConfigError, match="no layer is named 'met11'; names are met1"):
        names.find("met11")


def test_layer_properties_of_klayout_are_read() -> None:
    group = "<group-members><name>pin</name><source>met1.pin 68/16@1</source></group-members>"
    names = read_layer_properties(
        lyp(
            ("met1.drawing - 68/20", "68/20@1", group),
            ("", "via 68/44@1"),
            ("all", "*/*@*"),
            ("a&lt;b", "7/0"),
        )
    )
    assert names.layer_of == {"met1.drawing": "68/20", "pin": "68/16", "via": "68/44", "a<b": "7/0"}


def test_files_of_klayout_itself_are_read(tmp_path: Path) -> None:
    lay = pytest.importorskip("klayout.lay")
    view = lay.LayoutView()
    for source, name in (("68/20@1", "met1"), ("69/20@1", "met2")):
        properties = lay.LayerProperties()
        properties.source, properties.name = source, name
        view.insert_layer(view.end_layers(), properties)
    view.save_layer_props(str(tmp_path / "k.lyp"))
    names = read_layer_properties((tmp_path / "k.lyp").read_bytes())
    assert names.layer_of == {"met1": "68/20", "met2": "69/20"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"not xml", "it is not XML as KLayout writes it"),
        (lyp(("a", "*/0")), "it names no layer"),
        (lyp(("a", "5000000000/0")), "is over 4294967295"),
        (b'<!DOCTYPE l [<!ENTITY a "x">]>' + lyp(("a", "1/0")), "declares a document type"),
        (b"<l>" * 200, "nested over 100 deep"),
        (b" " * 16_000_001, "has 16,000,001 bytes; the limit is 16,000,000"),
        (b'<?xml version="1.0" encoding="nonsense"?><l/>', "it is not XML as KLayout writes it"),
    ],
)
def test_what_is_no_file_of_names_is_refused(content: bytes, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_layer_properties(content)

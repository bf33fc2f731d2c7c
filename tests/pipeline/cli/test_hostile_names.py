"""Names of cells and files reach the terminal, the log, XML, pages and tables as text only."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ET
from pathlib import Path

import gdstk
import klayout.db as kdb
import klayout.rdb as rdb
import numpy as np
import pytest

from pipeline.cli.terminal import PrintableStream
from stages.detector.models import checkpoint
from tests.support.small_scan import CHECKOUT, Hotscan, SmallScan

NAME = b"\x1b[31m\x07\xe2\x80\xae<script>]]>&'\"\xc2\x9b\xff\n\x7f\xe2\x81\xa6"
"""Colour, bell, direction, markup, quotes, no UTF-8, a line break, isolate; NUL is refused."""
FILE = os.fsdecode(b"\x1b[31mch\xe2\x80\xaeip<script>&'\x07\xff\n2.gds")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bars that print badly, in a cell named by bytes that no writer would take."""
    folder = tmp_path_factory.mktemp("hostile")
    plain, stand_in = folder / "plain.gds", "S" * (len(NAME) + len(NAME) % 2)
    library = gdstk.Library()
    cell = library.new_cell(stand_in)
    for x, y in np.ndindex(30, 3):
        cell.add(gdstk.rectangle((x * 0.3, y * 4), (x * 0.3 + 0.1, y * 4 + 3), 68, 20))
    library.write_gds(plain)
    path = folder / FILE
    path.write_bytes(plain.read_bytes().replace(stand_in.encode(), NAME.ljust(len(stand_in), b"x")))
    plain.unlink()
    return path


def require_printable(text: str, keep: str = "\n") -> None:
    found = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert found <= set(keep), found


def test_every_output_of_a_scan(
    hostile: Path, hotscan: Hotscan, small_scan: SmallScan, tmp_path: Path
) -> None:
    out = tmp_path / os.fsdecode(b"r\x1b[1m\xffun")
    scan = (
        "scan", hostile, "--out", out, "--model", small_scan.model, "--layer", "68/20",
        "--roi", "2,2,8,8", "--workers", 0, "--threshold", 0,
    )  # fmt: skip
    for code, command in (
        (0, ("info", hostile)), (0, ("info", hostile, "--json")), (0, ("validate", hostile)),
        (2, (*scan, "--cell", "\x1b[31m")), (0, (*scan, "--verbose")), (0, ("status", out)),
        (0, ("status", out, "--json")), (0, ("resume", out, "--workers", 0)), (0, ("report", out)),
        (2, (*scan, "--config", tmp_path / "\x1b]0;title\x07")), (2, ("info", "a", "\x1b[31m")),
        (2, (*scan, "--model", "\u202e\x1b")), (3, ("info", tmp_path / "\x1b[31m\udcff")),
        (2, ("status", tmp_path / "\x1b[31m\nhotscan: complete")),
    ):  # fmt: skip
        ended = hotscan(*command)
        assert ended.code == code, ended.err
        require_printable(ended.out + ended.err)
        assert not any(line.startswith(("2.gds", "hotscan: complete")) for line in
                       (ended.out + ended.err).splitlines())  # fmt: skip
    require_printable((out / "hotscan.log").read_text())
    page = (out / "report" / "index.html").read_text()
    require_printable(page)
    assert page.count("<script") == 1  # its own
    assert r"ch\u202eip&lt;script&gt;&amp;&#39;\x07\xff" in page
    require_valid_xml((out / "report" / "hotspots.lyrdb.gz").read_bytes(), tmp_path)
    for form in ("csv", "json", "parquet", "gds", "oas", "clips", "calibre", "junit"):
        assert hotscan("export", out, "--format", form, "-o", tmp_path / form).code == 0
    for form in ("csv", "json", "calibre", "junit"):
        require_printable((tmp_path / form).read_text())
    for form in ("gds", "oas"):
        layout = kdb.Layout()
        layout.read(str(tmp_path / form))
        require_printable(layout.top_cell().name, keep="")


def require_valid_xml(packed: bytes, folder: Path) -> None:
    text = gzip.decompress(packed).decode()
    require_printable(text)
    root = ET.fromstring(text)
    assert "<script>]]>&'" in str(root.findtext("top-cell"))
    assert r"\x1b[31mch\u202eip<script>&'\x07\xff\n2.gds" in str(root.findtext("original-file"))
    (folder / "a.lyrdb").write_text(text)
    database = rdb.ReportDatabase("")
    database.load(str(folder / "a.lyrdb"))
    assert database.num_items() > 0


def test_a_process_with_hostile_names(
    hostile: Path, hotscan: Hotscan, small_scan: SmallScan, tmp_path: Path
) -> None:
    """Names of corners come from a model, and from a file of somebody else."""
    from dataclasses import replace

    from stages.lithography.process import load_process

    name = "=1+\x1b[31m'\\\u202e</b>"
    process = load_process("krf130")
    corners = tuple(replace(corner, name=f"{name}{corner.name}") for corner in process.corners)
    settings = replace(process, corners=corners, name=f"p{name}").as_dict()
    model = replace(
        checkpoint.load(small_scan.model), process=f"p{name}", process_settings=settings
    )
    checkpoint.save(tmp_path / "model.pt", model)
    ended = hotscan(
        "scan", hostile, "--out", tmp_path / "run", "--model", tmp_path / "model.pt", "--layer",
        "68/20", "--roi", "2,2,8,8", "--workers", 0, "--threshold", 0, "--confirm",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    require_printable(ended.out + ended.err)
    report = tmp_path / "run" / "report"
    require_printable((report / "index.html").read_text())
    rows = list(csv.DictReader(io.StringIO((report / "hotspots.csv").read_text())))
    assert any("=1+" in row["corner"] for row in rows)
    require_printable((report / "hotspots.csv").read_text())
    text = gzip.decompress((report / "hotspots.lyrdb.gz").read_bytes()).decode()
    require_printable(text)
    (tmp_path / "a.lyrdb").write_text(text)
    database = rdb.ReportDatabase("")
    database.load(str(tmp_path / "a.lyrdb"))
    texts = [value.string() for item in database.each_item() for value in item.each_value()
             if value.is_string()]  # fmt: skip
    assert any(r"=1+\x1b[31m'\\u202e</b>".replace("\\\\", "\\\\") in text for text in texts)


def test_a_stream_escapes_what_acts_on_a_terminal() -> None:
    stream = io.StringIO()
    print("a\x1b[31m\tb\r\u202e\x9b\udcff", file=PrintableStream(stream))
    assert stream.getvalue() == "a\\x1b[31m\tb\\r\\u202e\\x9b\\xff\n"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_real_process_prints_nothing_that_acts(encoding: str, tmp_path: Path) -> None:
    """Whatever the streams can encode, and however click finds them."""
    name = os.fsdecode(b"\x1b[31m\xff\xe2\x80\xae\xc3\xa9")
    command = [sys.executable, "-m", "pipeline.cli.app", "info", str(tmp_path / name)]
    ended = subprocess.run(
        [*command, "more", "\x1b[31m\a\u202e"],
        cwd=CHECKOUT, capture_output=True, timeout=120,
        env=os.environ | {"PYTHONIOENCODING": encoding},
    )  # fmt: skip
    assert ended.returncode == 2
    require_printable(ended.stderr.decode())
    assert b"\\x07\\u202e" in ended.stderr


def test_json_of_hostile_names_is_read_back_as_it_was(hotscan: Hotscan, hostile: Path) -> None:
    values = json.loads(hotscan("info", hostile, "--json").out)
    assert values["file"] == str(hostile)
    require_printable(" ".join(values["cells"]), keep="")

"""Waiving hotspots and comparing scans, from the command line to the files."""

from __future__ import annotations

import csv
import json
import re
import shutil
import socket
import sys
from pathlib import Path

import klayout.rdb as rdb
import pytest
from junitparser import JUnitXml

from pipeline.engine.storage.run_directory import Run
from pipeline.report.run_view import RunView, open_view
from tests.support.small_scan import Hotscan, SmallScan

BY = ("--reason", "seen in silicon", "--by", "N. N.")


@pytest.fixture(scope="module")
def run(reference: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the scan that other tests share, whose report may be written again."""
    path = tmp_path_factory.mktemp("waived") / "run"
    shutil.copytree(reference.path, path)
    return path


@pytest.fixture(scope="module")
def view(run: Path) -> RunView:
    return open_view(Run(run))


def read_csv(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_waived_class_is_stamped_everywhere(
    run: Path, view: RunView, hotscan: Hotscan, tmp_path: Path
) -> None:
    file, members = tmp_path / "waivers.toml", view.classes[0].hotspots
    ended = hotscan("waive", run, "--class", 1, *BY, "--waivers", file)
    assert ended.code == 0
    name = ended.out.split(":")[0]
    assert f"{name}: {members} hotspots waived, " in ended.out
    ended = hotscan("report", run, "--waivers", file)
    assert f"waived     {members:,} hotspots, not counted in levels" in ended.out
    rows = read_csv(run / "report" / "hotspots.csv")
    waived = [row for row in rows if row["waived"] == "True"]
    assert {row["class"] for row in waived} == {"1"}
    assert {(row["waiver"], row["waiver_reason"]) for row in waived} == {(name, "seen in silicon")}
    (row, *others) = read_csv(run / "report" / "classes.csv")
    assert (row["waived"], row["level"]) == (str(members), "")
    assert {other["waived"] for other in others} == {"0"}
    metrics = json.loads((run / "report" / "metrics.json").read_text())
    assert metrics["hotspots_waived"] == members == len(waived)
    levels = sum(metrics[f"hotspots_level{level}"] for level in (1, 2, 3))
    assert levels == metrics["hotspots"] - members
    page = (run / "report" / "index.html").read_text()
    assert f"{members} are waived" in page
    assert name in page
    database = rdb.ReportDatabase("")
    database.load(str(run / "report" / "hotspots.lyrdb.gz"))
    (category,) = database.category_by_path("waived").each_sub_category()
    assert category.num_items() == members
    for options, skipped in ((("--waivers", file), 1), ((), 0)):
        out = tmp_path / "junit.xml"
        assert hotscan("export", run, "--format", "junit", "-o", out, *options).code == 0
        (suite,) = JUnitXml.fromfile(str(out))
        assert suite.skipped == skipped


def test_an_expired_waiver_is_named_and_covers_nothing(
    run: Path, view: RunView, hotscan: Hotscan, tmp_path: Path
) -> None:
    file = tmp_path / "waivers.toml"
    assert hotscan("waive", run, "--hotspot", 1, *BY, "--waivers", file).code == 0
    file.write_text(file.read_text().replace("\nby =", "\nexpires = 2020-01-01\nby ="))
    ended = hotscan("report", run, "--waivers", file)
    assert "waived     0 hotspots, not counted in levels; 1 waiver expired" in ended.out
    assert "not covered any more" in (run / "report" / "index.html").read_text()


def test_a_scan_counts_and_gates_without_them(
    scan: Hotscan, hotscan: Hotscan, tmp_path: Path
) -> None:
    """The path is remembered, whatever folder a later command is called from."""
    run, file = tmp_path / "run", tmp_path / "waivers.toml"
    assert scan("--threshold", 0, "--fail-on", 0).code == 1
    assert hotscan("waive", run, "--hotspot", 1, *BY, "--waivers", file).code == 0
    assert scan("--threshold", 0, "--fail-on", 0, "--waivers", file).code == 0
    assert "waived     1 hotspot, not" in hotscan("report", run).out
    file.unlink()
    ended = hotscan("report", run)
    assert ended.code == 2
    assert f"waivers {file} cannot be read (No such file or directory); give --waiv" in ended.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "nothing to waive: give --class or --hotspot"),
        (("--class", "100000"), "class 100000 is not in"),
        (("--hotspot", "0"), "hotspot 0 is not in"),
        (("--hotspot", "1", "--expires", "soon"), "--expires 'soon' is no day; write it like 20"),
        (("--hotspot", "1", "--expires", "2020-01-01"), "would have expired on 2020-01-01"),
        (("--hotspot", "1", "--by", ""), "by is ''"),
        (("--hotspot", "1", "--waivers", "/proc/none/x"), "cannot be written ("),
    ],
)
def test_what_cannot_be_waived(
    options: tuple[str, ...], message: str, run: Path, hotscan: Hotscan, tmp_path: Path
) -> None:
    ended = hotscan("waive", run, *BY, "--waivers", tmp_path / "w.toml", *options)
    assert ended.code == 2
    assert message in ended.err
    assert not (tmp_path / "w.toml").exists()


def test_a_damaged_file_is_not_written_over(run: Path, hotscan: Hotscan, tmp_path: Path) -> None:
    file = tmp_path / "waivers.toml"
    for content, message in ((b"format = 2", "format is 2; allowed: 1"), (b"\xff", "not UTF-8")):
        file.write_bytes(content)
        ended = hotscan("waive", run, "--hotspot", 1, *BY, "--waivers", file)
        assert ended.code == 2
        assert f"waivers {file}: " in ended.err
        assert message in ended.err
        assert file.read_bytes() == content


def test_a_scan_compared_with_itself(run: Path, view: RunView, hotscan: Hotscan) -> None:
    ended = hotscan("diff", run, run, "--fail-on", 0, "--json")
    counts = json.loads(ended.out)["counts"]
    assert ended.code == 0
    assert [counts[name] for name in ("new", "fixed", "moved", "same", "worse")] == [
        0, 0, 0, len(view.hotspots), 0,
    ]  # fmt: skip


def test_fewer_hotspots_and_more(
    reference: Run, small_scan: SmallScan, hotscan: Hotscan, tmp_path: Path
) -> None:
    """Of a layout that was not edited, another region: what lies outside is new, or fixed."""
    part = tmp_path / "part"
    x_0, y_0, x_1, y_1 = small_scan.roi_um
    small_scan(part, layout={"roi_um": (x_0, y_0, x_1, (y_0 + y_1) / 2)})
    table, out = tmp_path / "changes.csv", tmp_path / "new.lyrdb"
    ended = hotscan("diff", part, reference.path, "--table", table, "--out", out, "--fail-on", 0)
    assert ended.code == 1
    assert "new hotspots are over the gate, --fail-on 0" in ended.err
    rows = read_csv(table)
    new = [row for row in rows if row["change"] == "new"]
    assert 0 < len(new) < len(rows)
    assert all(float(row["y_um"]) > (y_0 + y_1) / 2 - 1.28 for row in new)
    assert {row["change"] for row in rows} == {"new", "same"}
    database = rdb.ReportDatabase("")
    database.load(str(out))
    assert database.category_by_path("hotspot").num_items() == len(new)
    back = json.loads(hotscan("diff", reference.path, part, "--json").out)["counts"]
    assert (back["fixed"], back["new"], back["same"]) == (len(new), 0, len(rows) - len(new))


def test_runs_that_cannot_be_compared(
    reference: Run, small_scan: SmallScan, hotscan: Hotscan, tmp_path: Path
) -> None:
    other = tmp_path / "radius"
    small_scan(other, layout={"roi_um": (50.0, 50.0, 52.0, 52.0)}, classes={"radius_nm": 300.0})
    ended = hotscan("diff", reference.path, other)
    assert ended.code == 2
    assert "the runs differ in radius_nm: 214.0 in" in ended.err
    other = tmp_path / "simulated"
    small_scan(other, layout={"roi_um": (50.0, 50.0, 52.0, 52.0)}, confirm={"enabled": True})
    ended = hotscan("diff", reference.path, other)
    assert ended.code == 2
    assert f"{other} is simulated and {reference.path} is not; scan that again with" in ended.err


def test_a_review_says_its_address_and_where_decisions_are(
    run: Path, hotscan: Hotscan, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def serve(self: object, sockets: object) -> None:
        raise KeyboardInterrupt  # as Ctrl-C

    monkeypatch.setattr("uvicorn.Server.serve", serve)
    first, second = (hotscan("review", run, "--waivers", tmp_path / "w.toml") for _ in range(2))
    assert (first.code, second.code) == (0, 0)
    addresses = [
        re.search(r"^http://127\.0\.0\.1:\d+/([\w-]{32})/$", ended.out, re.MULTILINE)
        for ended in (first, second)
    ]
    assert None not in addresses
    assert len({found[1] for found in addresses if found}) == 2  # never the same token
    assert f"what was decided is in {run / 'review.jsonl'}" in first.out


def test_a_review_without_its_extra_says_how_to_install_it(
    run: Path, hotscan: Hotscan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    ended = hotscan("review", run)
    assert ended.code == 2
    assert "pip install 'hotscan[review]'" in ended.err


def test_a_port_in_use_is_told(run: Path, hotscan: Hotscan) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = hotscan("review", run, "--port", port)
    assert ended.code == 2
    assert f"port {port} cannot be used" in ended.err


def test_a_review_is_of_one_layer(
    run: Path, hotscan: Hotscan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.scan.layers.is_of_layers", lambda path: True)
    monkeypatch.setattr("pipeline.scan.layers.list_begun", lambda path: {"68/20": path / "68_20"})
    ended = hotscan("review", run)
    assert ended.code == 2
    assert f"is a scan of several layers; review one of them: {run / '68_20'}" in ended.err

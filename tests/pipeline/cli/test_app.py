"""The command line as a user meets it: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

import gdstk
import klayout.db as kdb
import klayout.rdb as rdb
import pyarrow.parquet as pq
import pytest
from junitparser import JUnitXml

from pipeline.cli import app as cli
from pipeline.engine.storage.ledger import Ledger, Status, UnitOutcome
from pipeline.engine.storage.run_directory import Run
from pipeline.report.export import FORMATS
from pipeline.report.run_results import read_hotspots
from pipeline.train import committee_plan
from stages.detector.models import checkpoint
from stages.detector.training.loop import TrainingConfig
from tests.support.small_scan import CHECKOUT, DENSE, TINY, Hotscan


def test_an_unfinished_run_says_so_everywhere(
    scan: Hotscan, hotscan: Hotscan, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert scan().code == 0
    with Ledger(run / "ledger.sqlite") as ledger:
        ledger.start_session()
        (shard,) = ledger.finished("scores")
        ledger.forget("hotspots")
        ledger.record(UnitOutcome("scores", shard, Status.FAILED, error="made to fail"))
    ended = hotscan("status", run)
    assert ended.code == 0
    assert "scores 00000 failed: made to fail" in ended.out
    (run / "hotspots.parquet").unlink()
    for ended in (hotscan("report", run), hotscan("export", run, "--out", tmp_path / "x.gds")):
        assert ended.code == 4
        assert f"has no hotspots yet; finish the scan with: hotscan resume {run}" in ended.err
    ended = hotscan("resume", run, "--workers", 0, "--quiet")
    assert ended.code == 0
    assert ended.out.startswith("complete: ")


def test_the_gate(scan: Hotscan) -> None:
    """Without --threshold the test's model flags some 2 %; at 0 it flags every clip."""
    ended = scan("--threshold", 0, "--fail-on", 0)
    assert ended.code == 1
    assert "1 hotspots are over the gate, --fail-on 0" in ended.err
    assert scan("--threshold", 0, "--fail-on", 1).code == 0
    assert scan("--threshold", 1, "--fail-on", 0).code == 0


def test_the_gate_by_level(scan: Hotscan, hotscan: Hotscan, tmp_path: Path) -> None:
    config = tmp_path / "levels.toml"
    config.write_text("[levels]\nfirst_score = 0.99\nsecond_score = 1e-9\n")
    levels = ("--threshold", 0, "--config", config)
    ended = scan(*levels, "--fail-on", "level1:0,level2:0")
    assert ended.code == 1
    assert "1 hotspots of level 2 are over the gate, --fail-on level1:0,level2:0" in ended.err
    assert "levels     0 of 1, 1 of 2, 0 of 3 (1 is the worst; by prediction)" in ended.out
    assert scan(*levels, "--fail-on", "level1:0,level3:0").code == 0
    out = tmp_path / "junit.xml"
    assert hotscan("export", tmp_path / "run", "--format", "junit", "-o", out).code == 0
    (suite,) = JUnitXml.fromfile(str(out))
    assert [case.classname for case in suite] == ["hotscan.scan", "hotscan.level2"]
    assert (suite.failures, suite.errors) == (1, 0)


def test_no_hotspots_make_a_report_all_the_same(scan: Hotscan, tmp_path: Path) -> None:
    ended = scan("--threshold", 1)
    assert ended.code == 0
    assert ended.out.startswith("complete: 0 hotspots (0 classes) in ")
    report = tmp_path / "run" / "report"
    assert "<html" in (report / "index.html").read_text()
    assert len((report / "hotspots.csv").read_text().splitlines()) == 1
    database = rdb.ReportDatabase("none")
    database.load(str(report / "hotspots.lyrdb.gz"))
    assert database.num_items() == 0
    assert gdstk.read_gds(str(report / "markers.gds")).cells[0].polygons == []


def test_a_region_without_shapes_has_no_clips(scan: Hotscan, tmp_path: Path) -> None:
    path = tmp_path / "far.gds"
    made = gdstk.Library("far", unit=1e-6, precision=1e-9)
    cell = made.new_cell("far")
    for x in (0, 100):
        cell.add(gdstk.rectangle((x, 0), (x + 1, 60), layer=68, datatype=20))
    made.write_gds(str(path))
    ended = scan(layout=path)
    assert ended.code == 0
    assert ended.out.startswith("complete: 0 hotspots (0 classes) in 0 clips (0 distinct)")


def test_status(reference: Run, hotscan: Hotscan) -> None:
    status = json.loads(hotscan("status", reference.path, "--json").out)
    metrics = json.loads((reference.report / "metrics.json").read_text())
    assert status["state"] == "complete"
    assert status["driver"] is None
    assert status["next"] == ""
    for name in ("clips", "patterns", "hotspots"):
        assert status[name] == metrics[name] > 0
    plain = hotscan("status", reference.path).out
    assert plain.startswith(f"{reference.path}: complete\n")
    assert f"{metrics['hotspots']:,} hotspots in {metrics['clips']:,} clips" in plain


def centres(path: Path) -> list[tuple[int, int]]:
    layout = kdb.Layout()
    layout.read(str(path))
    layer = next(info for info in layout.layer_infos() if info.datatype == 0)
    shapes = layout.top_cell().shapes(layout.layer(layer)).each()
    boxes = [shape.bbox().center() for shape in shapes if not shape.is_text()]
    return sorted((point.x, point.y) for point in boxes)


@pytest.mark.parametrize("form", FORMATS)
def test_exports_read_back(form: str, reference: Run, hotscan: Hotscan, tmp_path: Path) -> None:
    """Whatever the file is called."""
    out = tmp_path / "new" / "export"
    ended = hotscan("export", reference.path, "--format", form, "-o", out)
    assert (ended.code, ended.out) == (0, f"wrote {out}\n")
    spots = read_hotspots(reference)
    places = sorted((spot.x_dbu, spot.y_dbu) for spot in spots)
    if form in ("gds", "oas"):
        magic = {"gds": b"\x00\x06\x00\x02", "oas": b"%SEMI-OASIS\r\n"}[form]
        assert out.read_bytes().startswith(magic)
        assert centres(out) == places
    elif form == "lyrdb":
        database = rdb.ReportDatabase("read back")
        database.load(str(out))
        names = [database.category_by_id(i.category_id()).path() for i in database.each_item()]
        assert sum(name.startswith("hotspot") for name in names) == len(spots)
    elif form == "calibre":
        database = rdb.ReportDatabase("read back")
        database.load(str(out))
        assert database.num_items() == len(spots)
    elif form == "junit":
        (suite,) = JUnitXml.fromfile(str(out))
        failures = sum(int(case.result[0].message.split()[0]) for case in suite if case.result)
        assert failures == len(spots)
    elif form == "csv":
        with out.open() as file:
            rows = list(csv.DictReader(file))
        assert [int(row["id"]) for row in rows] == [spot.id for spot in spots]
    elif form == "json":
        rows = json.loads(out.read_text())
        assert [row["id"] for row in rows] == [spot.id for spot in spots]
    elif form == "parquet":
        table = pq.read_table(out)
        assert (
            sorted(zip(*(table[n].to_pylist() for n in ("x_dbu", "y_dbu")), strict=True)) == places
        )
    else:
        assert len(list(out.glob("*.gds"))) == len(spots)


def test_report_is_where_the_last_lines_say_and_is_written_again(
    scan: Hotscan, hotscan: Hotscan, tmp_path: Path
) -> None:
    out = scan().out
    report = tmp_path / "run" / "report"
    shown = re.search(r"report +(\S+)", out)
    assert shown is not None
    assert Path(shown[1]).samefile(report / "index.html")
    assert f"klayout -e {DENSE} -m {report}/hotspots.lyrdb.gz" in out
    before = {path.name: path.read_bytes() for path in report.iterdir()}
    for path in report.iterdir():
        path.unlink()
    ended = hotscan("report", tmp_path / "run")
    assert ended.code == 0
    after = {path.name: path.read_bytes() for path in report.iterdir()}
    assert before.keys() == after.keys()
    for name in ("hotspots.csv", "hotspots.lyrdb.gz", "markers.gds"):
        assert after[name] == before[name]


def test_info_and_validate(hotscan: Hotscan) -> None:
    told = json.loads(hotscan("info", TINY, "--json").out)
    layout = kdb.Layout()
    layout.read(str(TINY))
    top = layout.top_cell()
    assert told["dbu_nm"] == layout.dbu * 1000
    assert sorted(told["cells"]) == sorted(cell.name for cell in layout.each_cell())
    assert told["top_cells"] == [top.name]
    box = top.dbbox()
    assert told["extents_um"][top.name] == pytest.approx(
        [box.left, box.bottom, box.right, box.top], abs=1e-9
    )
    assert told["names"] == {}
    named = hotscan("info", TINY, "--tech", "sky130A").out
    assert re.search(r"68/20 +met1 +76\n", named)
    plain = hotscan("info", TINY).out
    for text in ("database unit  1 nm", f"  {top.name}  ", *told["layers"]):
        assert text in plain
    ended = hotscan("validate", TINY)
    assert (ended.code, ended.out) == (0, f"{TINY} can be scanned\n")


def test_a_fault_of_the_program_never_is_unchanged_when_the_gate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python's own exit code is 1, which says: complete, and over the gate."""
    for error, code in ((ZeroDivisionError(), 4), (OSError(28, "No space left on device"), 4)):

        def fail(error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(cli, "app", fail)
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code == code
    assert "hotscan: [Errno 28] No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_names_the_command_that_resumes(
    number: signal.Signals,
    code: int,
    hotscan: Hotscan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*arguments: object, **settings: object) -> None:
        signal.raise_signal(number)

    monkeypatch.setattr("pipeline.scan.layers.resume_any", interrupted)
    ended = hotscan("resume", tmp_path, "--quiet")
    assert ended.code == code
    assert ended.err == f"interrupted; resume with: hotscan resume {tmp_path}\n"


def test_help_needs_nothing_but_the_program() -> None:
    """Help is quick: it imports no torch."""
    code = "import sys, pipeline.cli.app; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True
    )
    assert done.stdout == "False\n"


def test_train_and_evaluate(
    labelled: Path, hotscan: Hotscan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick = partial(TrainingConfig, steps=2, batch=8)
    monkeypatch.setattr(committee_plan, "TrainingConfig", quick)
    model = tmp_path / "m.pt"
    chosen = ("--metric", "batch_mean", "--alike", "margin")
    given = ("--validation", labelled, "--epochs", 1, *chosen)
    ended = hotscan("train", labelled, "-o", model, *given)
    assert ended.code == 0, ended.err
    assert ended.err.startswith("epoch 1/1  loss ")
    assert re.search(r"^digest +[0-9a-f]{64}$", ended.out, re.MULTILINE)
    measured = hotscan("evaluate", model, labelled, "--json")
    assert measured.code == 0
    assert json.loads(measured.out)["recall"] >= 0.99
    settings = checkpoint.load(model).provenance["training"]
    assert (settings["metric"], settings["alike"]) == ("batch_mean", "margin")
    assert "recall" in hotscan("evaluate", model, labelled, "--one-look").out
    ended = hotscan("train", labelled, "-o", tmp_path / "one.pt", "--distil", "nobody")
    assert (ended.code, "model 'nobody' is neither a file" in ended.err) == (2, True)


def test_a_log_is_written_where_it_is_asked_for(scan: Hotscan, tmp_path: Path) -> None:
    assert scan("--verbose").code == 0
    text = (tmp_path / "run" / "hotscan.log").read_text()
    assert re.search(r"INFO scores: finished in [\d.]+ s, 0 failed", text)
    assert "DEBUG clips: 1/1" in text
    size = len(text)
    assert scan("--verbose").code == 0
    assert len((tmp_path / "run" / "hotscan.log").read_text()) > size


def test_the_version_is_told(hotscan: Hotscan) -> None:
    ended = hotscan("--version")
    assert (ended.code, ended.out) == (0, f"hotscan {version('hotscan')}\n")

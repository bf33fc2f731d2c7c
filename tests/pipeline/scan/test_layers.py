"""A scan of several layers: each is the scan that it would be alone, and none is left out."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import klayout.rdb as rdb
import pytest

import hotscan as api
from pipeline.config import Resources, load_config
from pipeline.engine.storage.run_record import LayoutFile, RunRecord
from pipeline.scan import layers
from pipeline.scan.layers import LayersResult, resume_any, scan_any
from pipeline.scan.request import ScanRequest
from stages.errors import ConfigError, LayoutError, RunMismatchError, UsageError
from tests.support.small_scan import TINY, Hotscan, SmallScan

LAYERS = ("67/20", "68/20", "69/20")


@pytest.fixture(scope="session")
def request_of(small_scan: SmallScan) -> Callable[..., ScanRequest]:
    """Return a function from a directory and settings to the request of a scan."""

    def make(out: Path, *given: str, scores: Any = (), **table: Any) -> ScanRequest:
        tables = {
            "layout": {"layers": list(given), "tech": "sky130A", **table},
            "scores": {"model": str(small_scan.model), **dict(scores)},
        }
        return ScanRequest(layout=TINY, out=out, config=load_config(None, tables))

    return make


def run(request: ScanRequest) -> Any:
    return scan_any(request, Resources(workers=0), lambda event: None)


@pytest.fixture(scope="session")
def together(
    request_of: Callable[..., ScanRequest], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("layers") / "run"
    result = run(request_of(out, "li1", "met1", "69/20"))
    assert isinstance(result, LayersResult)
    assert result.complete
    return out


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((path / "report" / "hotspots.csv").read_text().splitlines()))


def test_each_layer_is_the_scan_that_it_would_be_alone(
    together: Path, request_of: Callable[..., ScanRequest], tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    assert run(request_of(alone, "68/20")).complete
    part = together / "layers" / "68_20"
    files = ["hotspots.parquet", "classes.parquet", "report/hotspots.csv", "report/classes.csv",
             "report/markers.gds"]  # fmt: skip
    files += [f"layout/{path.name}" for path in (alone / "layout").iterdir()]
    assert len(files) > 10
    for name in files:
        assert (part / name).read_bytes() == (alone / name).read_bytes(), name


def test_one_table_and_one_report_hold_all_layers(together: Path) -> None:
    metrics = json.loads((together / "report" / "metrics.json").read_text())
    parts = {layer: rows(together / "layers" / layer.replace("/", "_")) for layer in LAYERS}
    assert [row["layer"] for row in metrics["layers"]] == list(LAYERS)
    assert [row["name"] for row in metrics["layers"]] == ["li1", "met1", "met2"]
    assert [row["hotspots"] for row in metrics["layers"]] == [len(parts[one]) for one in LAYERS]
    assert metrics["hotspots"] == len(rows(together)) > 0
    expected = [{"layer": layer, **row} for layer in LAYERS for row in parts[layer]]
    found = [{k: v for k, v in row.items() if k != "layer_name"} for row in rows(together)]
    assert found == expected
    assert "not known: the model does not say" in metrics["layers"][0]["known"]
    page = (together / "report" / "index.html").read_text()
    for said in ("68/20 (met1)", '"../layers/69_20/report/index.html"', "tiny.pt"):
        assert said in page
    # The layout is read once: the arrays of a layer are the same file.
    shared = together / "layout" / "1.point.npy"
    if shared.stat().st_nlink > 1:
        assert os.path.samefile(shared, together / "layers" / "68_20" / "layout" / "0.point.npy")


def test_klayout_shows_all_layers_from_one_file(together: Path) -> None:
    database = rdb.ReportDatabase("")
    database.load(str(together / "report" / "hotspots.lyrdb.gz"))
    every = {category.name(): category for category in database.each_category()}
    assert list(every) == ["li1_67_20", "met1_68_20", "met2_69_20"]
    assert every["met1_68_20"].description == "Layer 68/20 (met1)"
    for layer, category in zip(LAYERS, every.values(), strict=True):
        alone = rdb.ReportDatabase("")
        part = together / "layers" / layer.replace("/", "_")
        alone.load(str(part / "report" / "hotspots.lyrdb.gz"))
        for name in ("hotspot", "class", "class_representative", "level", "not_scanned"):
            inside = database.category_by_path(f"{category.name()}.{name}")
            assert inside.num_items() == alone.category_by_path(name).num_items()
        assert database.category_by_path(f"{category.name()}.hotspot").num_items() == len(
            rows(part)
        )


def test_a_stopped_scan_goes_on(
    together: Path,
    request_of: Callable[..., ScanRequest],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, real, begun = tmp_path / "run", layers.scan, []

    def stop_at_the_second(request: ScanRequest, *given: Any) -> Any:
        begun.append(request.out.name)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(request, *given)

    with monkeypatch.context() as patch:
        patch.setattr(layers, "scan", stop_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            run(request_of(out, *LAYERS))
    told = layers.status_any(out)
    assert told["state"] == "interrupted"
    assert list(told["layers"]) == ["67/20"]
    with pytest.raises(RunMismatchError, match="layers was "):
        run(request_of(out, "67/20", "68/20"))
    result = resume_any(out, Resources(workers=0), lambda event: None)
    assert result.complete
    for name in ("hotspots.csv", "hotspots.parquet", "hotspots.lyrdb.gz", "index.html"):
        assert (out / "report" / name).read_bytes() == (together / "report" / name).read_bytes()


def test_metals_that_the_file_lacks_are_named(
    request_of: Callable[..., ScanRequest], tmp_path: Path, small_scan: SmallScan
) -> None:
    request = request_of(tmp_path / "run", all_metals=True, scores={"models": {"met2": "arfi45"}})
    metrics = run(request).metrics
    assert [row["layer"] for row in metrics["layers"]] == ["68/20", "69/20"]
    assert metrics["layers_absent"] == ["70/20 (met3)", "71/20 (met4)", "72/20 (met5)"]
    assert [row["process"] for row in metrics["layers"]] == ["krf130", "arfi45"]
    assert metrics["layers"][1]["known"].startswith(
        "not known: it was trained on 68/20 (met1) of arfi45, and 69/20 (met2) is scored as if"
    )
    page = (tmp_path / "run" / "report" / "index.html").read_text()
    assert "70/20 (met3), 71/20 (met4), 72/20 (met5), which the layout does not have" in page


def test_what_several_layers_cannot_have_is_refused(
    request_of: Callable[..., ScanRequest], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shard = {"since": (tmp_path,)}
    with pytest.raises(UsageError, match="--since is for a scan of one layer"):
        run(ScanRequest(layout=TINY, out=out, config=request_of(out, *LAYERS).config, **shard))
    for request, kind, said in (
        (request_of(out, tech=None, all_metals=True), ConfigError, "--all-metals needs names"),
        (
            request_of(out, "67/20", "68/20", scores={"models": {"met2": "arfi45"}}), ConfigError,
            "a model is given for layer 69/20, which is not scanned; scanned are 67/20, 68/20",
        ),
        (request_of(out, "67/20", "met5"), ConfigError, r"has no layer 72/20 \(met5\)"),
        (
            request_of(out, "67/20", "68/20", cell="polygons"), LayoutError,
            r"cell 'polygons' has no shape on 67/20 \(li1\)",
        ),
    ):  # fmt: skip
        with pytest.raises(kind, match=said):
            run(request)
        assert not (out / "layers").exists()


@pytest.mark.parametrize("scans", [{}, {"..": {}}, {"68/20": {"layout": {"layers": ["1/0"]}}}, 5])
def test_a_run_that_no_scan_writes_is_refused(scans: Any, tmp_path: Path) -> None:
    """Folders of layers are named by ``run.json``, which anybody may have written."""
    record = RunRecord(
        task="layers", layout=LayoutFile("x.gds", "0"), settings={"scans": scans, "absent": []}
    )
    with pytest.raises(UsageError, match="settings that no scan of several layers writes"):
        layers.read_scans(record)


def test_every_command_knows_a_run_of_layers(
    together: Path, hotscan: Hotscan, small_scan: SmallScan
) -> None:
    ended = hotscan(
        "scan", TINY, "--tech", "sky130A", "--layer", "li1", "--layer", "met1", "--layer", "met2",
        "--model", small_scan.model, "--out", together, "--workers", 0, "--quiet", "--fail-on", 0,
    )  # fmt: skip
    total = len(rows(together))
    assert ended.code == 1
    assert ended.out.startswith(f"complete: {total} hotspots on 3 layers\n")
    assert f"{total} hotspots are over the gate" in ended.err
    told = hotscan("status", together).out
    assert f"{together}: complete" in told
    assert "layer 69/20" in told
    assert hotscan("report", together).out.startswith(f"complete: {total} hotspots on 3 layers\n")
    ended = hotscan("export", together, "--out", together.with_name("x.gds"))
    assert ended.code == 2
    assert "holds a scan of each of several layers; give one of them" in ended.err


def test_python_has_the_same(together: Path) -> None:
    opened = api.open(together)
    assert isinstance(opened, api.LayerRuns)
    assert opened.complete
    assert opened.hotspots.num_rows == opened.metrics["hotspots"]
    assert opened.hotspots["layer"].to_pylist() == [row["layer"] for row in rows(together)]
    assert list(opened.runs) == list(LAYERS)
    assert opened.runs["68/20"].hotspots.num_rows == opened.metrics["layers"][1]["hotspots"]
    assert "68/20 (met1)" in opened._repr_html_()
    assert opened.resume(progress=False).complete
    with pytest.raises(UsageError, match="holds a scan of one layer"):
        api.LayerRuns(together / "layers" / "68_20")

"""Scans through the Python API: what the command line does, in a few lines."""

from __future__ import annotations

import gzip
from pathlib import Path
from xml.etree import ElementTree

import gdstk
import klayout.db as kdb
import pyarrow as pa
import pytest

import hotscan
from pipeline.engine.storage.run_directory import Run as RunDirectory
from tests.support.small_scan import DENSE, ROI_UM, SmallScan


@pytest.fixture(scope="module")
def run(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> hotscan.Run:
    return hotscan.scan(
        DENSE, layers=["68/20"], out=tmp_path_factory.mktemp("api") / "run", roi=ROI_UM,
        model=small_scan.model, progress=False,
    )  # fmt: skip


def test_it_is_the_scan_of_the_command_line(run: hotscan.Run, reference: RunDirectory) -> None:
    assert run.complete
    assert (run.path / "hotspots.parquet").read_bytes() == reference.hotspots.read_bytes()
    assert run.metrics["hotspots"] == run.hotspots.num_rows > 10
    assert isinstance(run.hotspots, pa.Table)


def test_pandas_where_it_is_there(run: hotscan.Run) -> None:
    pytest.importorskip("pandas")
    assert len(run.to_pandas()) == run.metrics["hotspots"]


def test_a_run_is_opened_again(run: hotscan.Run, tmp_path: Path) -> None:
    again = hotscan.open(run.path)
    assert again.metrics == run.metrics
    assert "complete" in repr(again)
    with pytest.raises(hotscan.UsageError, match="holds no run"):
        hotscan.open(tmp_path)


def test_resuming_a_finished_run_changes_nothing(run: hotscan.Run) -> None:
    before = (run.path / "hotspots.parquet").read_bytes()
    assert run.resume(progress=False).complete
    assert (run.path / "hotspots.parquet").read_bytes() == before


def test_exports_are_written(run: hotscan.Run, tmp_path: Path) -> None:
    assert run.export("lyrdb", tmp_path / "m.lyrdb.gz").stat().st_size > 100
    assert run.export("gds", tmp_path / "m.gds").read_bytes()[:4] == b"\x00\x06\x00\x02"


def test_a_hotspot_is_drawn(run: hotscan.Run, tmp_path: Path) -> None:
    picture = run.picture(3)
    root = ElementTree.fromstring(picture)
    assert root.tag.endswith("svg")
    assert any(len(path.get("d", "")) > 10 for path in root if path.tag.endswith("path"))
    assert picture._repr_svg_() == picture
    assert picture.save(tmp_path / "p.svg").read_text() == picture
    with pytest.raises(KeyError, match="ids go from 1 to"):
        run.picture(0)


def test_a_notebook_shows_a_summary(run: hotscan.Run) -> None:
    shown = run._repr_html_()
    ElementTree.fromstring(shown)
    assert f"{run.metrics['clips']:,}" in shown


@pytest.mark.parametrize("kind", ["gdstk cell", "gdstk library", "klayout layout"])
def test_layouts_may_be_objects(
    kind: str, run: hotscan.Run, tmp_path: Path, small_scan: SmallScan
) -> None:
    (tmp_path / "dense.gds").write_bytes(gzip.decompress(DENSE.read_bytes()))
    library = gdstk.read_gds(str(tmp_path / "dense.gds"))
    layouts = {"gdstk library": library, "gdstk cell": library.top_level()[0]}
    if kind == "klayout layout":
        layouts[kind] = kdb.Layout()
        layouts[kind].read(str(DENSE))
    made = hotscan.scan(
        layouts[kind], layers="68/20", out=tmp_path / "run", roi=ROI_UM, model=small_scan.model,
        progress=False,
    )  # fmt: skip
    assert made.complete
    assert made.hotspots.equals(run.hotspots)
    assert made.resume(progress=False).complete  # its layout is still there


def test_what_is_no_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a int is no layout"):
        hotscan.scan(3, layers="68/20", out=tmp_path / "run", progress=False)


def test_a_misspelt_argument_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="did you mean 'threshold'"):
        hotscan.scan(DENSE, layers="68/20", out=tmp_path, treshold=0.1)  # type: ignore[call-arg]
    with pytest.raises(hotscan.ConfigError, match="68-20"):
        hotscan.scan(DENSE, layers="68-20", out=tmp_path / "run", progress=False)


def test_settings_may_come_from_tables(
    tmp_path: Path, small_scan: SmallScan, run: hotscan.Run
) -> None:
    made = hotscan.scan(
        DENSE, out=tmp_path / "run", model=small_scan.model, roi=ROI_UM, progress=False,
        config={"layout": {"layers": ["68/20"], "roi_um": [0, 0, 1, 1]}, "report": {"top": 2}},
    )  # fmt: skip
    assert made.hotspots.equals(run.hotspots)


def test_shards_are_merged(tmp_path: Path, small_scan: SmallScan, run: hotscan.Run) -> None:
    parts = [
        hotscan.scan(
            DENSE,
            layers="68/20",
            out=tmp_path / f"{n}",
            roi=ROI_UM,
            model=small_scan.model,
            shard=f"{n}/2",
            progress=False,
            config={"tiles": {"size_um": 30.0}},
        )
        for n in (1, 2)
    ]
    assert not parts[0].complete
    with pytest.raises(hotscan.IncompleteError, match="has no report yet"):
        _ = parts[0].metrics
    whole = hotscan.merge([part.path for part in parts], tmp_path / "whole", progress=False)
    assert whole.hotspots.equals(run.hotspots)


def test_a_plan_foresees_the_scan(small_scan: SmallScan, run: hotscan.Run) -> None:
    foreseen = hotscan.plan(DENSE, layers="68/20", model=small_scan.model, roi=ROI_UM, confirm=True)
    assert run.metrics["clips"] / 1.5 < foreseen["clips"] < run.metrics["clips"] * 1.5
    assert foreseen["windows"] > 0
    assert foreseen["seconds_confirm"] > 0

"""Taking over from earlier runs gives what a scan of everything gives."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import gdstk
import pytest

import pipeline.passes.units as steps
from pipeline.config import Resources
from pipeline.engine.storage.run_directory import Run
from pipeline.passes.shard import Shard
from pipeline.scan.scan import merge, resume
from stages.errors import RunMismatchError, UsageError
from tests.support.small_scan import Hotscan, SmallScan

TILES = {"size_um": 13.0}


@pytest.fixture(scope="module")
def before(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scan in many tiles, to take over from."""
    return small_scan(tmp_path_factory.mktemp("before") / "run", tiles=TILES).run.path


def hotspots(path: Path) -> bytes:
    return Run(path).hotspots.read_bytes()


def changed(layout: Path, out: Path) -> Path:
    """The block with one more wire, and one slanted shape."""
    plain = out.with_suffix(".plain.gds")
    plain.write_bytes(gzip.decompress(layout.read_bytes()))
    library = gdstk.read_gds(str(plain))
    (top,) = library.top_level()
    top.add(gdstk.rectangle((60.0, 60.0), (61.0, 60.14), layer=68, datatype=20))
    top.add(gdstk.Polygon([(80, 80), (80.5, 80), (80, 80.5)], layer=68, datatype=20))
    library.write_gds(str(out))
    return out


def test_nothing_is_judged_again_where_nothing_changed(
    before: Path, small_scan: SmallScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(
        steps, "score_rasters", lambda pictures, scorer, real=steps.score_rasters:
        sizes.append(len(pictures)) or real(pictures, scorer),
    )  # fmt: skip
    again = small_scan(tmp_path / "run", tiles=TILES, since=[before])
    assert set(sizes) == {0}
    assert again.metrics["tiles_taken_over"] == len(list((before / "clips").iterdir()))
    assert again.metrics["patterns_taken_over"] == again.metrics["patterns"] > 100
    assert hotspots(again.run.path) == hotspots(before)


def test_a_stopped_scan_goes_on_taking_over(
    before: Path, small_scan: SmallScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*ignored: object, **given: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "run"
    with monkeypatch.context() as stopped:
        stopped.setattr("pipeline.scan.stages.tally_on_disk", stop)
        with pytest.raises(KeyboardInterrupt):
            small_scan(out, tiles=TILES, since=[before])
    again = resume(out, Resources(workers=0), lambda event: None)
    assert again.metrics["patterns_taken_over"] == again.metrics["patterns"]
    assert hotspots(out) == hotspots(before)


def test_what_changed_is_scanned(before: Path, small_scan: SmallScan, tmp_path: Path) -> None:
    other = replace(small_scan, layout=changed(small_scan.layout, tmp_path / "other.gds"))
    whole = other(tmp_path / "whole", tiles=TILES)
    assert hotspots(whole.run.path) != hotspots(before)
    partly = other(tmp_path / "partly", tiles=TILES, since=[before])
    tiles = len(list((before / "clips").iterdir()))
    assert tiles / 2 < partly.metrics["tiles_taken_over"] < tiles
    assert 0 < partly.metrics["patterns_taken_over"] < partly.metrics["patterns"]
    assert hotspots(partly.run.path) == hotspots(whole.run.path)


def test_another_area_is_no_obstacle(before: Path, small_scan: SmallScan, tmp_path: Path) -> None:
    x_0, y_0, x_1, y_1 = small_scan.roi_um
    other = replace(small_scan, roi_um=(x_0 + 20, y_0, x_1 + 10, y_1))
    whole = other(tmp_path / "whole", tiles=TILES)
    partly = other(tmp_path / "partly", tiles=TILES, since=[before])
    assert 0 < partly.metrics["tiles_taken_over"] < len(list((whole.run.path / "clips").iterdir()))
    assert hotspots(partly.run.path) == hotspots(whole.run.path)


def test_runs_of_other_settings_are_refused(
    before: Path, small_scan: SmallScan, tmp_path: Path
) -> None:
    with pytest.raises(RunMismatchError, match=r"\[tiles\] size_um was 13.0, is 50.0; give a run"):
        small_scan(tmp_path / "a", tiles={"size_um": 50.0}, since=[before])
    sites = {"mode": "sites"}
    with pytest.raises(RunMismatchError, match=r"\[clips\] mode was 'grid', is 'sites'"):
        small_scan(tmp_path / "b", tiles=TILES, clips=sites, since=[before])
    with pytest.raises(UsageError, match="holds no run"):
        small_scan(tmp_path / "c", tiles=TILES, since=[tmp_path])


@pytest.mark.parametrize("missing", [None, 2])
def test_parts_put_together_are_the_whole(
    missing: int | None, before: Path, small_scan: SmallScan, tmp_path: Path
) -> None:
    parts = []
    for number in (3, 1, 2):
        path = tmp_path / f"part{number}"
        part = small_scan(path, tiles=TILES, shard=Shard(number, 3))
        assert not part.complete
        assert not part.run.hotspots.exists()
        assert resume(path, Resources(workers=0), print).metrics == part.metrics
        if number != missing:
            parts.append(path)
    whole = merge(parts, tmp_path / "whole", Resources(workers=0), lambda event: None)
    assert whole.complete
    tiles = len(list((before / "clips").iterdir()))
    taken = whole.metrics["tiles_taken_over"]
    assert taken == tiles if missing is None else tiles / 2 < taken < tiles
    assert hotspots(whole.run.path) == hotspots(before)


def test_every_tile_is_in_one_part() -> None:
    tiles = tuple(range(11))
    for of in (1, 2, 5, 11, 20):
        parts = [Shard(number, of).choose(tiles) for number in range(1, of + 1)]  # type: ignore[arg-type]
        assert [tile for part in parts for tile in part] == list(tiles)


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/3/5"])
def test_what_is_no_part_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not i/n"):
        Shard.parse(text)


def test_parts_on_the_command_line(
    hotscan: Hotscan, small_scan: SmallScan, before: Path, tmp_path: Path
) -> None:
    for number in (1, 2):
        ended = hotscan(*small_scan.arguments(tmp_path / str(number)), "--shard", f"{number}/2")
        assert ended.code == 0, ended.err
        assert f"part {number}/2: " in ended.out
        assert "hotscan merge" in ended.out
    ended = hotscan("status", str(tmp_path / "1"))
    assert "part done" in ended.out
    ended = hotscan("report", str(tmp_path / "1"))
    assert ended.code == 4
    assert "it is part 1/2: put the parts together with hotscan merge" in ended.err
    ended = hotscan("merge", str(tmp_path / "1"), str(tmp_path / "2"), "--out", str(tmp_path / "m"))
    assert ended.code == 0, ended.err
    assert ended.out.startswith("complete: ")
    assert hotspots(tmp_path / "m") == hotspots(before)  # tiles never change the answer

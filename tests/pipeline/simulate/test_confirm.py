"""Confirming hotspots: the same verdicts however it is run, none where nothing was simulated."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from shapely import Polygon, box

from pipeline.config import Resources
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run, write_library
from pipeline.layout import ingest
from pipeline.report.run_view import open_view
from pipeline.scan.request import ScanResult
from pipeline.scan.scan import resume
from pipeline.simulate import confirm, hot_clips
from stages.contracts import Layer, Verdict
from stages.detector.models import checkpoint
from stages.exports.markers import Drawing, build_drawing
from tests.support.optical import KRF, judge_clips
from tests.support.small_scan import ROI_UM as WHOLE_UM
from tests.support.small_scan import Hotscan, SmallScan

ENABLED: dict[str, Any] = {"enabled": True, "batch_windows": 32}
ROI_UM = (45.0, 45.0, 75.0, 62.0)


def confirmed(
    small_scan: SmallScan, out: Path, *, workers: int = 0, **tables: dict[str, Any]
) -> ScanResult:
    asked = {"confirm": ENABLED, "layout": {"roi_um": ROI_UM}, "scores": {"threshold": 0.0}}
    for table, settings in tables.items():
        asked[table] = {**asked.get(table, {}), **settings}
    return small_scan(out, workers=workers, **asked)


def table_of(run: Run) -> bytes:
    return (run.report / "hotspots.csv").read_bytes()


def rows_of(result: ScanResult) -> list[dict[str, str]]:
    return list(csv.DictReader(table_of(result.run).decode().splitlines()))


@pytest.fixture(scope="module")
def reference(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> ScanResult:
    """With a threshold of 0 every clip is a hotspot: failing and printing ones."""
    result = confirmed(small_scan, tmp_path_factory.mktemp("confirmed") / "run")
    assert result.complete
    assert 0 < result.metrics["clips_confirmed"] < result.metrics["clips_simulated"]
    return result


WAYS: dict[str, dict[str, Any]] = {
    "two workers": {"workers": 2},
    "other batches": {"confirm": {"batch_windows": 7}},
    "other tiles": {"tiles": {"size_um": 10.0}},
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_running_gives_the_same_verdicts(
    way: str, reference: ScanResult, small_scan: SmallScan, tmp_path: Path
) -> None:
    result = confirmed(small_scan, tmp_path / "run", **WAYS[way])
    assert table_of(result.run) == table_of(reference.run)
    names = ("hotspots_confirmed", "clips_simulated", "clips_confirmed")
    assert [result.metrics[n] for n in names] == [reference.metrics[n] for n in names]
    assert margins_of(result) == margins_of(reference)


def margins_of(result: ScanResult) -> dict[tuple[int, int], bytes]:
    """The stored margins of each clip, to the byte."""
    batches = [file.stem for file in (result.run.path / "confirm").glob("*.parquet")]
    margins = confirm.read_clip_margins(open_view(result.run).confirmation, batches)
    assert len(margins) == result.metrics["clips_simulated"]
    return {place: margin.tobytes() for place, margin in margins.items()}


def simulate_clips(
    run: Path, folder: Path, chosen: Sequence[int], batch: int
) -> dict[tuple[int, int], Any]:
    """Simulate some of the clips of a run alone; return verdict and contours by place."""
    (folder / "confirm").mkdir(parents=True)
    (folder / "layout").symlink_to(run / "layout")
    hot = pq.read_table(run / hot_clips.HOT_CLIPS).take(list(chosen))
    x, y = (hot[name].to_numpy() for name in ("x_dbu", "y_dbu"))
    hot_clips.write_clips_to_simulate(Run(folder), x, y, np.arange(len(x)))
    job = confirm.make_confirmation(Run(folder), 1280, KRF, "none", batch)
    for number in reversed(job.batches):
        confirm.confirm_batch(number, job=job)
    done = confirm.read_confirmed(job, [confirm.name_batch(number) for number in job.batches])
    rows = pq.read_table(folder / hot_clips.HOT_CLIPS).to_pylist()
    drawn = {spot: confirm.draw_print(job, mine, (0, 0)) for spot, mine in done.failing.items()}
    return {
        (row["x_dbu"], row["y_dbu"]): (
            done.verdicts[row["hotspot"]],
            [shape.wkb for shape in drawn[row["hotspot"]][1]] if row["hotspot"] in drawn else None,
        )
        for row in rows
    }


def test_a_verdict_does_not_depend_on_the_other_clips(
    reference: ScanResult, tmp_path: Path
) -> None:
    clips = pq.read_table(reference.run.path / hot_clips.HOT_CLIPS).num_rows
    chosen = np.random.default_rng(3).permutation(clips)[:30].tolist()
    together = simulate_clips(reference.run.path, tmp_path / "all", chosen, 5)
    assert 2 < sum(contours is not None for _, contours in together.values()) < 30
    alone: dict[tuple[int, int], Any] = {}
    for at, part in enumerate((chosen[:1], chosen[1:4], chosen[:3:-1])):
        alone |= simulate_clips(reference.run.path, tmp_path / str(at), part, 1 + at)
    assert alone == together


def test_what_surely_fails_in_the_whole_region_fails_alone_and_so_for_what_prints(
    reference: ScanResult,
) -> None:
    """A place within 3 % of its limit may fall on either side: other light comes from afar."""
    view = open_view(reference.run)
    batches = [file.stem for file in (reference.run.path / "confirm").glob("*.parquet")]
    margins = confirm.read_clip_margins(view.confirmation, batches)
    fails = {place: bool(margin.max() > 0) for place, margin in margins.items()}
    surely, passing = judge_clips(view.layout.packed[0], fails, 1280)
    assert len(surely) > 5
    assert len(passing) > 20
    assert {place for place in surely if not fails[place]} == set()
    assert {place for place in passing if fails[place]} == set()


def pack(folder: Path, shapes: list[Polygon], clips: list[tuple[int, int]]) -> Any:
    """Pack shapes into a run, and return the simulation of clips there."""
    folder.mkdir(exist_ok=True)
    drawing = Drawing(Layer(68, 20), shapes)
    write_library(folder / "drawn.gds", build_drawing("top", 1.0, [drawing]))
    ingest.pack_into(folder / "drawn.gds", folder / "layout", [Layer(68, 20)], None)
    (folder / "confirm").mkdir()
    x, y = np.array(clips).T
    hot_clips.write_clips_to_simulate(Run(folder), x, y, np.arange(len(clips)))
    return confirm.make_confirmation(Run(folder), 1280, KRF, "none", 10)


def test_a_changed_table_of_windows_is_made_again(tmp_path: Path) -> None:
    """Else one clip has the verdict on another, whose window is as good a number."""
    job = pack(tmp_path, [box(-9000, -70, 40, 70), box(9000, 0, 19000, 140)], [(0, 0), (9000, 0)])
    assert job.windows == 2
    path = tmp_path / "windows.parquet"
    before, table = path.read_bytes(), pq.read_table(path)
    for column in table.column_names:
        changed = pa.array(1 - table[column].to_numpy(), table[column].type)
        pq.write_table(table.set_column(table.column_names.index(column), column, changed), path)
        assert job.windows == 2
        assert path.read_bytes() == before, column
    for place in range(0, len(before), 7):
        flipped = bytearray(before)
        flipped[place] ^= 4
        path.write_bytes(flipped)
        assert job.windows == 2
        assert path.read_bytes() == before, place
    path.unlink()
    assert job.windows == 2
    assert path.read_bytes() == before


def test_a_run_made_again_in_one_process_is_read_again(tmp_path: Path) -> None:
    """The same clips of another layout: as in a notebook, where a cell is edited."""
    clips = [(0, 0), (9000, 0)]
    assert pack(tmp_path / "run", [box(-9000, -70, 40, 70)], clips).windows == 2
    shutil.rmtree(tmp_path / "run")
    job = pack(tmp_path / "run", [box(-9000, -70, 19000, 70)], clips)
    assert job.windows == 1
    assert (tmp_path / "run" / "windows.parquet").exists()


def test_equal_clips_are_simulated_once(tmp_path: Path) -> None:
    scene = [
        (-9000, -70, -40, 70), (-40, -54, 40, 54), (40, -70, 9000, 70), (300, -9000, 520, -300),
    ]  # fmt: skip
    places = [(0, 0), (40_123, 77), (81_000, 40_000)]
    rects = [(x + dx, y + dy, p + dx, q + dy) for x, y, p, q in scene for dx, dy in places[:2]]
    dx, dy = places[2]
    rects += [(dx - q, dy - p, dx - y, dy - x) for x, y, p, q in scene]  # a quarter and a mirror
    tip = np.array([(0, -500), (200, -500), (0, -400)])
    slanted = [Polygon(tip + np.array([at, 90_000])) for at in (0, 50_000)]
    clips = [*places, (0, 89_000), (50_000, 89_000), (25_000, 89_000)]
    job = pack(tmp_path, [box(*rect) for rect in rects] + slanted, clips)
    assert job.windows == 3  # the neck, the tip, and nothing
    assert confirm.confirm_batch(0, job=job).counts["windows"] == 3
    found = confirm.read_confirmed(job, ["00000"])
    assert found.clips_simulated == 6
    first, second, turned = (found.verdicts[n].worst for n in range(3))
    assert first is not None
    assert second is not None
    assert turned is not None
    assert (second.x_dbu - first.x_dbu, second.y_dbu - first.y_dbu) == places[1]
    assert {first.severity, second.severity} == {turned.severity}
    assert 0 < first.severity < 1  # no other place is as bad
    off = (dx - turned.x_dbu - first.y_dbu, dy - turned.y_dbu - first.x_dbu)
    assert max(map(abs, off)) <= 1
    assert len({found.verdicts[n].defects for n in range(3)}) == 1
    assert found.verdicts[5] == Verdict(0, None, -1.0, None)
    assert found.verdicts[0].margin == pytest.approx(first.severity, abs=1e-4)
    assert found.verdicts[0].margin_kind == first.kind
    (_, near), (_, far) = (confirm.draw_print(job, found.failing[n], (0, 0)) for n in (0, 2))
    mirrored = shapely.transform(near, lambda points: np.array([dx, dy]) - points[:, ::-1])
    assert shapely.union_all(mirrored).equals(shapely.union_all(far))


def test_a_place_on_the_border_of_two_cores_belongs_to_one(tmp_path: Path) -> None:
    neck = [box(570, -9000, 710, -40), box(605, -40, 675, 40), box(570, 40, 710, 9000)]
    job = pack(tmp_path, neck, [(0, 0), (1280, 0)])
    confirm.confirm_batch(0, job=job)
    margins = confirm.read_clip_margins(job, ["00000"])
    worst = {place: margin.max() for place, margin in margins.items()}
    assert worst[0, 0] == 0  # it would fail by as much as the other, but for a dbu
    assert worst[1280, 0] > 0.1
    said = confirm.read_confirmed(job, ["00000"]).verdicts
    assert [said[n].margin for n in (0, 1)] == [0.0, round(float(worst[1280, 0]), 4)]


def test_the_report_draws_what_was_stored_and_simulates_nothing(
    reference: ScanResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*ignored: object, **given: object) -> None:
        raise AssertionError("simulated again")

    for name in ("clip_window", "measure.prints", "measure.defects", "correction.opc"):
        monkeypatch.setattr(f"stages.lithography.{name}.expose", refuse, raising=False)
    shutil.copytree(reference.run.path, tmp_path / "run")
    drawn = (tmp_path / "run" / "report" / "markers.gds").read_bytes()
    shutil.rmtree(tmp_path / "run" / "report")
    again = resume(tmp_path / "run", Resources(workers=0), lambda event: None)
    assert (again.run.report / "markers.gds").read_bytes() == drawn
    view = open_view(again.run)
    assert view.printed[0].contours
    window = view.printed[0].window
    assert min(window.width, window.height) > 1280
    shape = shapely.union_all(list(view.printed[0].contours))
    assert shape.within(shapely.box(*window.as_tuple()))


def test_what_the_model_is_sure_of_may_be_left_to_it(small_scan: SmallScan, tmp_path: Path) -> None:
    few: dict[str, Any] = {"layout": {"roi_um": WHOLE_UM}}
    every = confirmed(small_scan, tmp_path / "every", scores={"threshold": None}, **few)
    told = {row["id"]: row for row in rows_of(every)}
    scores = pq.read_table(every.run.hotspots)["score"].to_pylist()
    model = checkpoint.load(small_scan.model)
    point = replace(model.operating_point, confident=sorted(scores)[len(scores) // 2])
    checkpoint.save(tmp_path / "sure.pt", replace(model, operating_point=point))
    asked = {"model": str(tmp_path / "sure.pt"), "threshold": None}
    result = confirmed(
        small_scan, tmp_path / "run", confirm={"confident": False}, scores=asked, **few
    )
    assert result.complete
    answers = {"hot": 0, "review": 0}
    for row in rows_of(result):
        answers[row["answer"]] += 1
        wanted = told[row["id"]]["confirmed"] if row["answer"] == "review" else ""
        assert row["confirmed"] == wanted
    assert result.metrics["hotspots_not_asked"] == answers["hot"] > 0
    assert answers["review"] > 0
    page = (result.run.report / "index.html").read_text()
    assert "skipped: the model is confident" in page
    assert "INCOMPLETE" not in page


def test_a_stopped_confirmation_goes_on_to_the_same_bytes(
    reference: ScanResult, small_scan: SmallScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, seen = confirm.confirm_batch, []

    def die_at_the_fourth(batch: int, **given: Any) -> Any:
        seen.append(batch)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return real(batch, **given)

    with monkeypatch.context() as patch:
        patch.setattr(confirm, "confirm_batch", die_at_the_fourth)
        with pytest.raises(KeyboardInterrupt):
            confirmed(small_scan, tmp_path / "run")
    result = resume(tmp_path / "run", Resources(workers=0), lambda event: None)
    assert table_of(result.run) == table_of(reference.run)
    with Ledger(result.run.ledger, read_only=True) as ledger:
        assert max(ledger.times_run().values()) == 1


def test_hotspots_that_could_not_be_simulated_are_named(
    small_scan: SmallScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = confirm.confirm_batch

    def fail_once(batch: int, **given: Any) -> Any:
        if batch == 1:
            raise RuntimeError("no light")
        return real(batch, **given)

    with monkeypatch.context() as patch:
        patch.setattr(confirm, "confirm_batch", fail_once)
        result = confirmed(
            small_scan,
            tmp_path / "run",
            scores={"threshold": None},
            confirm={"batch_windows": 1},
            layout={"roi_um": WHOLE_UM},
        )
    assert not result.complete
    lost = result.metrics["hotspots_not_simulated"]
    rows = list(csv.DictReader((result.run.report / "hotspots.csv").read_text().splitlines()))
    assert lost == sum(row["confirmed"] == "" for row in rows) > 0
    page = (result.run.report / "index.html").read_text()
    assert "INCOMPLETE" in page
    assert "not simulated" in page
    again = resume(tmp_path / "run", Resources(workers=0), lambda event: None)
    assert again.complete
    assert again.metrics["hotspots_not_simulated"] == 0


def test_the_command_tells_what_fails_and_gates_on_it(scan: Hotscan, tmp_path: Path) -> None:
    ended = scan("--confirm", "--threshold", "0", "--fail-on", 0)
    assert ended.code == 1
    assert "fail, 0 could not be simulated" in ended.out
    rows = list(
        csv.DictReader((tmp_path / "run" / "report" / "hotspots.csv").read_text().splitlines())
    )
    assert {row["confirmed"] for row in rows} <= {"True", "False"}
    for row in rows:
        assert (row["defect"] != "") == (row["confirmed"] == "True")


def test_another_threshold_confirms_its_own_hotspots(
    reference: ScanResult, small_scan: SmallScan, tmp_path: Path
) -> None:
    few = confirmed(small_scan, tmp_path / "run", scores={"threshold": 0.9})
    assert few.metrics["clips_simulated"] < reference.metrics["clips_simulated"]
    assert few.complete
    all_of_them = confirmed(small_scan, tmp_path / "run")
    assert table_of(all_of_them.run) == table_of(reference.run)

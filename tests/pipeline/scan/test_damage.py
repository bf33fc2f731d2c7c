"""Stored data that is damaged is noticed, and computed again to the same bytes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Resources
from pipeline.engine.events import DataDamaged, Event
from pipeline.engine.storage.run_directory import Run
from pipeline.scan.inspect_run import open_view
from pipeline.scan.scan import resume
from stages.errors import HotscanError, IncompleteError, UsageError
from tests.support.small_scan import SmallScan

Damage = Callable[[Path], None]
SEED = 14


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    rng = np.random.default_rng([SEED, len(content)])
    content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(content))


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture(scope="module")
def scanned(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A confirmed scan of a few tiles and shards."""
    tables = {
        "tiles": {"size_um": 30.0}, "scores": {"shard_patterns": 512},
        "confirm": {"enabled": True}, "layout": {"roi_um": [50.0, 50.0, 80.0, 80.0]},
    }  # fmt: skip
    result = small_scan(tmp_path_factory.mktemp("damage") / "run", **tables)
    assert result.complete
    assert result.metrics["hotspots"] > 2
    return result.run.path


def one_of_each(run: Path) -> list[str]:
    """A file of every kind that a run stores and reads again."""
    kinds: dict[tuple[str, str], str] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run)
        if path.is_dir() or name.parts[0] in ("report", "failures", "ledger.sqlite.lock"):
            continue
        kind = name.parts[:2] if name.parts[0] in ("layout", "patterns.zarr") else name.parts[:1]
        kinds[("/".join(kind), path.suffix if path.suffix == ".json" else "")] = name.as_posix()
    return list(kinds.values())


FILES = [
    "classes", "classes.parquet", "clips", "confirm", "findings.parquet", "hotspots.parquet",
    "hot_clips.parquet", "layout", "patterns.zarr/count",
    "patterns.zarr/embedding", "patterns.zarr/key", "patterns.zarr/raster", "patterns.zarr/score",
    "patterns.zarr/x_dbu", "patterns.zarr/y_dbu", "patterns.zarr/zarr.json",
]  # fmt: skip
DAMAGES = (flip_a_bit, remove, truncate)


def test_every_kind_of_file_is_tried(scanned: Path) -> None:
    kinds = {Path(name).parts[0] for name in one_of_each(scanned)}
    tried = {Path(name).parts[0] for name in FILES} | {"run.json", "run.copy.json", "ledger.sqlite"}
    # windows.parquet holds its own digest, and is made again by whoever reads: test_confirm.py;
    # so does the model, whose original may still be there: test_model_file.py
    assert kinds == tried | {"windows.parquet", "model.pt"}


@pytest.mark.parametrize(
    ("kind", "damage"), [(kind, DAMAGES[number % 3]) for number, kind in enumerate(FILES)]
)
def test_what_is_damaged_is_computed_again(  # `make faults` tries all of each
    kind: str, damage: Damage, scanned: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(scanned, run)
    files = sorted(p for p in [run / kind, *(run / kind).rglob("*")] if p.is_file())
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    damage(files[-1])
    noticed = []
    with pytest.raises(IncompleteError, match="hotscan resume"):
        open_view(Run(run))
    result = resume(run, Resources(workers=0), noticed.append)
    assert [event for event in noticed if isinstance(event, DataDamaged)]
    assert result.complete
    for path in (files[-1], run / "hotspots.parquet", *run.glob("confirm/*")):
        assert path.read_bytes() == before[path], path


def test_a_table_of_another_tile_is_not_taken(scanned: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(scanned, run)
    first, second = sorted(run.glob("clips/*"))[:2]
    before = second.read_bytes()
    shutil.copy(first, second)
    resume(run, Resources(workers=0), lambda event: None)
    assert second.read_bytes() == before


def test_a_damaged_ledger_is_set_aside(scanned: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(scanned, run)
    ledger, before = run / "ledger.sqlite", (run / "hotspots.parquet").read_bytes()
    ledger.write_bytes(ledger.read_bytes()[:5000] + b"x" * 3000)
    assert resume(run, Resources(workers=0), lambda event: None).complete
    assert (run / "hotspots.parquet").read_bytes() == before
    assert (run / "ledger.sqlite.damaged").exists()


def test_a_damaged_row_of_the_ledger_is_no_row(scanned: Path, tmp_path: Path) -> None:
    """Whatever bit of it is flipped: the answer is the same, or an error says what is wrong."""
    ledger = scanned / "ledger.sqlite"
    content = ledger.read_bytes()
    rng = np.random.default_rng(SEED)
    answers = set()
    for number, place in enumerate(rng.integers(len(content), size=12).tolist()):
        run = tmp_path / f"{number}"
        shutil.copytree(scanned, run)
        flipped = bytearray(content)
        flipped[place] ^= 1 << int(rng.integers(8))
        (run / "ledger.sqlite").write_bytes(bytes(flipped))
        with suppress(HotscanError):  # a version that is not ours, say
            assert resume(run, Resources(workers=0), lambda event: None).complete
            answers.add((run / "hotspots.parquet").read_bytes())
    assert answers == {(scanned / "hotspots.parquet").read_bytes()}


def test_shards_of_different_scans_are_not_merged(small_scan: SmallScan, tmp_path: Path) -> None:
    from pipeline.passes.shard import Shard
    from pipeline.scan.scan import merge
    from stages.errors import RunMismatchError

    roi = {"layout": {"roi_um": [50.0, 50.0, 60.0, 60.0]}}
    one = small_scan(tmp_path / "1", shard=Shard(1, 2), **roi)
    other = small_scan(tmp_path / "2", shard=Shard(2, 2), scores={"threshold": 0.77}, **roi)
    for parts in ((one, other), (other, one)):
        with pytest.raises(RunMismatchError, match=r"\[scores\] threshold was 0.\d+, is 0.\d+"):
            merge([p.run.path for p in parts], tmp_path / "m", Resources(workers=0), print)


def test_a_layout_that_changes_while_it_is_read_is_noticed(
    small_scan: SmallScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.layout import ingest
    from stages.errors import LayoutError

    layout = tmp_path / "chip.gds.gz"
    shutil.copy(small_scan.layout, layout)
    read = ingest._read

    def replaced(*given: object, **more: object) -> object:
        done = read(*given, **more)  # type: ignore[arg-type]
        layout.write_bytes(layout.read_bytes() + b"\0")
        return done

    monkeypatch.setattr(ingest, "_read", replaced)
    with pytest.raises(LayoutError, match="changed while it was read"):
        SmallScan(layout, small_scan.model)(tmp_path / "run")


@pytest.mark.parametrize("damage", [flip_a_bit, halve])
def test_a_damaged_record_is_replaced_by_the_same_command(
    damage: Damage, small_scan: SmallScan, tmp_path: Path
) -> None:
    roi = {"layout": {"roi_um": [50.0, 50.0, 60.0, 60.0]}}
    run = small_scan(tmp_path / "run", **roi).run
    before, written_ns = run.hotspots.read_bytes(), run.hotspots.stat().st_mtime_ns
    damage(run.record)
    damage(run.record_copy)
    with pytest.raises(UsageError, match=r"run\.json cannot be read"):
        resume(run.path, Resources(workers=0), lambda event: None)
    again = small_scan(run.path, **roi)
    assert again.complete
    assert run.hotspots.read_bytes() == before
    assert run.hotspots.stat().st_mtime_ns > written_ns  # nothing finished was trusted


@pytest.mark.parametrize("damage", [flip_a_bit, remove, truncate])
@pytest.mark.parametrize("name", ["run.json", "run.copy.json", "report/hotspots.csv"])
def test_a_damaged_record_or_report_is_written_again(
    name: str, damage: Damage, scanned: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(scanned, run)
    table = (run / "report" / "hotspots.csv").read_bytes()
    damage(run / name)
    noticed: list[Event] = []
    assert resume(run, Resources(workers=0), noticed.append).complete
    assert [event for event in noticed if isinstance(event, DataDamaged)]
    assert (run / "run.json").read_bytes() == (run / "run.copy.json").read_bytes()
    assert (run / "report" / "hotspots.csv").read_bytes() == table


def test_the_last_shard_is_written_again_wherever_it_was_cut(scanned: Path, tmp_path: Path) -> None:
    """It has fewer rows than there is room for: Zarr would read the rest from what is there."""
    for share in (0.1, 0.5, 0.9):
        run = tmp_path / f"{share}"
        shutil.copytree(scanned, run)
        shard = sorted(run.glob("patterns.zarr/raster/c/*/0/0/0"))[-1]
        before = shard.read_bytes()
        shard.write_bytes(before[: int(share * len(before))])
        assert resume(run, Resources(workers=0), lambda event: None).complete
        assert shard.read_bytes() == before


def test_a_lost_ledger_is_noticed(scanned: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(scanned, run)
    (run / "ledger.sqlite").unlink()
    noticed: list[Event] = []
    assert resume(run, Resources(workers=0), noticed.append).complete
    assert DataDamaged("ledger", ("all units",)) in noticed
    assert (run / "hotspots.parquet").read_bytes() == (scanned / "hotspots.parquet").read_bytes()


def test_what_a_kill_left_half_written_is_removed(scanned: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(scanned, run)
    left = [run / "clips" / ".r0.parquet.77.tmp", run / "patterns.zarr" / "score" / "0.ab.partial"]
    for path in left:
        path.write_text("half")
    resume(run, Resources(workers=0), lambda event: None)
    assert not any(path.exists() for path in left)


def test_the_layout_that_a_process_holds_open_is_the_one_on_disk(
    scanned: Path, tmp_path: Path
) -> None:
    """A session that packs it again must not draw from what an earlier session mapped."""
    run = tmp_path / "run"
    shutil.copytree(scanned, run)
    before = (run / "hotspots.parquet").read_bytes()
    resume(run, Resources(workers=0), lambda event: None)
    for path in run.glob("layout/*item_box.npy"):
        path.write_bytes(path.read_bytes()[:128] + b"\0" * (path.stat().st_size - 128))
    for path in run.glob("clips/*"):
        path.unlink()
    resume(run, Resources(workers=0), lambda event: None)
    assert (run / "hotspots.parquet").read_bytes() == before

"""Files appear whole, and a shard belongs to one task."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import zarr

from pipeline.engine.storage.run_directory import Run
from pipeline.passes.arrays import (
    compute_shard_rows,
    count_shards,
    create_patterns,
    list_scored,
    list_shard_files,
    read_clips,
    read_pattern_rows,
    read_patterns,
    write_clips,
    write_shard,
)  # fmt: skip
from stages.contracts import Clips, RasterSpec
from stages.errors import IncompleteError
from stages.patterns import Tally
from stages.scores import Scores

SPEC = RasterSpec(40.0, 8, 4)


def some_clips(n: int, seed: int = 0) -> tuple[Clips, np.ndarray]:
    rng = np.random.default_rng(seed)
    x, y = rng.integers(-(2**40), 2**40, (2, n))
    keys = rng.integers(0, 256, (n, 16), np.uint8)
    return Clips(x, y, rng.integers(0, 5, n, np.uint8)), keys


@pytest.mark.parametrize("sizes", [[], [0], [5], [3, 0, 700, 1]])
def test_clips_read_back_tile_after_tile(sizes: list[int], tmp_path: Path) -> None:
    run = Run(tmp_path)
    written = [some_clips(n, seed) for seed, n in enumerate(sizes)]
    names = [f"t{i}" for i in range(len(sizes))]
    digests = [write_clips(run.clips(n), *w) for n, w in zip(names, written, strict=True)]
    clips, keys = read_clips(run, names)
    for field in ("x_dbu", "y_dbu", "rule"):
        parts = [getattr(c, field) for c, _ in written]
        assert getattr(clips, field).tolist() == [v for part in parts for v in part.tolist()]
    assert keys.tolist() == [key for _, part in written for key in part.tolist()]
    again = [write_clips(run.clips(n), *w) for n, w in zip(names, written, strict=True)]
    assert digests == again


def test_a_clips_file_that_is_gone_or_cut_is_told(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(IncompleteError, match=r"t0\.parquet cannot be read"):
        read_clips(run, ["t0"])
    write_clips(run.clips("t0"), *some_clips(9))
    run.clips("t0").write_bytes(run.clips("t0").read_bytes()[:50])
    with pytest.raises(IncompleteError, match=r"t0\.parquet cannot be read"):
        read_clips(run, ["t0"])


@pytest.mark.parametrize("shard", [1, 64, 256, 300, 4096])
@pytest.mark.parametrize("patterns", [0, 1, 255, 256, 5000])
def test_shards_own_every_pattern_once(shard: int, patterns: int) -> None:
    rows = [compute_shard_rows(i, shard, patterns) for i in range(count_shards(shard, patterns))]
    owned = [row for part in rows for row in range(part.start, part.stop)]
    assert owned == list(range(patterns))
    assert all(part.stop - part.start >= min(shard, patterns) for part in rows[:-1])


def merge_datasets(n: int, shard: int, run: Run) -> Tally:
    rng = np.random.default_rng(n)
    found = Tally(
        key=rng.integers(0, 256, (n, 16), np.uint8),
        count=rng.integers(1, 9, n),
        x_dbu=rng.integers(-99, 99, n),
        y_dbu=rng.integers(-99, 99, n),
    )
    halves = np.array_split(np.arange(n), 2)
    parts = [Tally(**{k: v[half] for k, v in asdict(found).items()}) for half in halves]
    create_patterns(run, SPEC, {"embedding": 4, "margin": 3}, shard, n, parts)
    return found


@pytest.mark.parametrize("n", [0, 1, 600])
def test_shards_are_written_and_read_back(n: int, tmp_path: Path) -> None:
    """In any order; until then a pattern has no score, which is NaN and never 0."""
    run, shard = Run(tmp_path), 256
    found = merge_datasets(n, shard, run)
    (score,) = read_patterns(run, "score")
    assert np.isnan(score).all()
    rng = np.random.default_rng(1)
    scores, embedding = rng.random(n, np.float32), rng.random((n, 4)).astype(np.float16)
    margin, raster = rng.random((n, 3), np.float32), rng.integers(0, 256, (n, 1, 8, 8), np.uint8)
    for number in reversed(range(count_shards(shard, n))):
        rows = compute_shard_rows(number, shard, n)
        write_shard(run, rows, raster[rows], Scores(scores[rows], embedding[rows], margin[rows]))
        assert all((tmp_path / name).exists() for name in list_shard_files(run, number))
        x, y = read_pattern_rows(run, rows, "x_dbu", "y_dbu")
        assert x.tolist() == found.x_dbu[rows].tolist()
        assert y.tolist() == found.y_dbu[rows].tolist()
    for name, values in (
        *asdict(found).items(),
        ("margin", margin),
        ("raster", raster),
        ("score", scores),
    ):
        assert np.array_equal(*read_patterns(run, name), values)
    assert np.array_equal(*read_patterns(run, "embedding"), embedding)


def test_patterns_found_again_replace_the_old(tmp_path: Path) -> None:
    run = Run(tmp_path)
    merge_datasets(600, 256, run)
    merge_datasets(10, 256, run)
    assert [a.shape for a in read_patterns(run, "count", "margin")] == [(10,), (10, 3)]
    assert [path.name for path in tmp_path.iterdir()] == ["patterns.zarr"]


def test_a_model_without_margins_has_no_column_of_them(tmp_path: Path) -> None:
    run = Run(tmp_path)
    create_patterns(run, SPEC, {"embedding": 4, "margin": 0}, 256, 0, [])
    assert list_scored(run) == ("raster", "score", "embedding")


def test_what_equals_the_fill_value_is_written(tmp_path: Path) -> None:
    """The prefilter may reject a whole shard: its margins are NaN, and its file is sealed."""
    run = Run(tmp_path)
    merge_datasets(5, 256, run)
    blank = np.zeros((5, 1, 8, 8), np.uint8)
    write_shard(run, slice(0, 5), blank, Scores.blank(5, 4, 3))
    assert all((tmp_path / name).exists() for name in list_shard_files(run, 0))


def test_a_lost_array_is_told(tmp_path: Path) -> None:
    run = Run(tmp_path)
    zarr.create_group(run.patterns).create_group("score")
    with pytest.raises(IncompleteError, match="score is no array"):
        read_patterns(run, "score")

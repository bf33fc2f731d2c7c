"""Margins beside bits: a tiny layout, networks of two steps."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.detectors import margins_against_bits
from pipeline.datasets.store import load_dataset
from stages.contracts import Bytes, Float32s
from stages.lithography.measure.margins import split_by_margin
from tests.benchmarks.conftest import Benchmark
from tests.support.tables import read_number, read_table


@pytest.fixture
def data(tmp_path: Path, labelled: Path) -> Path:
    """A folder with the same layout under two names."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name in ("chip", "other"):
        (folder / name).symlink_to(labelled)
    return folder


def test_each_variant_is_trained_once_and_measured_on_every_layout(
    benchmark: Benchmark, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(margins_against_bits, "BATCH", 8)
    given = ("--data", data, "--work", tmp_path / "work", "--seeds", 1, "--epochs", 1, "--steps", 2)
    variants = ("--variant", "bits", "margins", "--test")
    empty = benchmark(margins_against_bits, *given, *variants, "other", "--measured")
    assert len(read_table(empty)) == 1
    benchmark(margins_against_bits, *given, *variants, "other", "--most", 1)
    trained = sorted(path.name for path in (tmp_path / "work").iterdir())
    assert trained == ["bits-chip-1x2-0.other.json", "bits-chip-1x2-0.pt"]
    printed = benchmark(margins_against_bits, *given, *variants, "other", "chip")
    rows = read_table(printed)[1:]
    assert [(row[0], row[2]) for row in rows] == [
        ("other", "bits"), ("other", "margins"), ("chip", "bits"), ("chip", "margins"),
    ]  # fmt: skip
    for row in rows:
        assert 0 <= read_number(row[4]) <= read_number(row[5]) <= 1
        assert (row[7] == "-") == (row[2] == "bits")
    again = benchmark(margins_against_bits, *given, *variants, "other", "chip", "--measured")
    assert read_table(again)[1:] == rows


def test_figures_are_counts_of_all_clips_where_none_is_left_out(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And where every second picture is, what is judged counts twice."""
    dataset = load_dataset(data / "chip")
    drawn = np.random.default_rng(0).permutation(len(dataset.raster)).astype(np.float32)
    of_picture = {picture.tobytes(): value for picture, value in zip(dataset.raster, drawn,
                                                                     strict=True)}  # fmt: skip

    def score(network: Any, rasters: Bytes) -> Float32s:
        return np.array([of_picture[raster.tobytes()] for raster in rasters], np.float32)

    monkeypatch.setattr(margins_against_bits, "score", score)
    fails, passes = split_by_margin(dataset.worst_margin())
    scores, found = drawn[dataset.pattern], {}
    for thin in (1, 2):
        monkeypatch.setattr(margins_against_bits, "THIN", thin)
        found[thin] = margins_against_bits.measure_on(SimpleNamespace(kinds=()), [data / "chip"])
    falling = np.sort(scores[fails])[::-1]
    for recall in (0.95, 0.99):
        limit = falling[int(np.ceil(recall * fails.sum())) - 1]
        alarms = (scores[passes] >= limit).mean()
        assert found[1][f"alarms_{recall:.0%}"[:-1]] == pytest.approx(alarms)
        assert found[2][f"alarms_{recall:.0%}"[:-1]] == pytest.approx(alarms, abs=0.15)
    assert found[1]["fails"] == found[2]["fails"] == fails.sum()
    assert json.loads(json.dumps(found[1])) == found[1]

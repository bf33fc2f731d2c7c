"""What integers find beside float32, and digests of scores: of processes, of an emulated one."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.detectors import quantised, score_digest
from pipeline.datasets.store import load_dataset
from pipeline.evaluate.model import EvaluateRequest, evaluate_model
from stages.contracts import Bytes
from stages.detector.models import checkpoint
from tests.benchmarks.conftest import Benchmark
from tests.support.tables import read_number, read_table

MODEL = checkpoint.find("krf130-met1")


@pytest.fixture
def pictures(labelled: Path) -> Bytes:
    return load_dataset(labelled).raster[: score_digest.BATCH]


def test_a_digest_is_of_all_that_is_scored(pictures: Bytes) -> None:
    model = checkpoint.load(MODEL)
    assert model.integers is not None
    digest = score_digest.digest_scores(score_digest.load_scorer(model, "int8"), pictures)
    for part in ("prefilter", "members"):
        name = next(each for each in model.integers if each.startswith(part))
        other = replace(model, integers={**model.integers, name: model.integers[name] // 2})
        changed = score_digest.load_scorer(other, "int8")
        assert score_digest.digest_scores(changed, pictures) != digest
    floats = score_digest.load_scorer(model, "float32")
    assert score_digest.digest_scores(floats, pictures) != digest


def test_processes_are_limited_and_emulated(
    benchmark: Benchmark, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    pictures: Bytes, tmp_path: Path,
) -> None:  # fmt: skip
    emulator = tmp_path / "emulator"
    emulator.write_text(f'#!/bin/sh\nprintf "%s" "$*" > {tmp_path}/asked\nshift 2\nexec "$@"\n')
    emulator.chmod(emulator.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(quantised, "KINDS", ("int8",))
    monkeypatch.setattr(quantised, "LIMITS", {"all": {}})
    monkeypatch.setattr(quantised, "EMULATED", {"Nehalem": "all"})
    quantised.print_limited(checkpoint.load(MODEL), pictures, str(emulator))
    _, limited, emulated = read_table(capsys.readouterr().out)
    assert (tmp_path / "asked").read_text().startswith("-cpu Nehalem ")
    np.save(tmp_path / "pictures.npy", pictures)
    here = benchmark(score_digest, MODEL, tmp_path / "pictures.npy", "int8").strip()
    assert limited == ["all", here]
    assert emulated == ["all, an emulated Nehalem", "-", here]


def test_each_set_and_all_are_counted_as_evaluating_does(
    benchmark: Benchmark, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantised, "REPEATS", 1)
    printed = benchmark(quantised, MODEL, "--test", labelled, labelled)
    rows = [row for row in read_table(printed) if row[0] in ("yes", "no")]
    assert [row[0] for row in rows] == ["no"] * 3 + ["yes"] * 3
    assert len(load_dataset(labelled).raster) > 0
    for prefiltered, (one, same, both) in zip((False, True), (rows[:3], rows[3:]), strict=True):
        found = evaluate_model(
            EvaluateRequest(model=str(MODEL), datasets=(labelled,), prefiltered=prefiltered)
        )
        fails, passes, _, in_int8, _, alarms_int8 = (int(read_number(cell)) for cell in one[2:8])
        assert fails > 0 < passes
        assert found["recall"] == pytest.approx(in_int8 / fails)
        assert found["false_alarm_rate"] == pytest.approx(alarms_int8 / passes)
        assert one == same
        assert [int(read_number(cell)) for cell in both[2:8]] == [
            2 * int(read_number(cell)) for cell in one[2:8]
        ]
        assert both[1] == "all"
        assert both[8:] == one[8:]

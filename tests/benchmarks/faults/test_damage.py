"""A sample of `make faults`: at every place where data is kept, a fault is noticed and healed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.faults.damage import FAULTS, Bench, Outcome, list_kinds
from benchmarks.faults.small_runs import SmallRuns, make_small_runs
from tests.support.small_scan import SmallScan


@pytest.fixture(scope="module")
def runs(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> SmallRuns:
    return make_small_runs(tmp_path_factory.mktemp("faults"), small_scan.model)


@pytest.mark.parametrize(
    ("subject", "faults"),
    [
        ("label", [("clips", "bit"), ("defects", "removed"), ("layout", "swapped")]),
        ("training", [("state", "bit"), ("state", "cut"), ("state", "swapped")]),
    ],
)
def test_a_fault_is_noticed_and_healed(
    subject: str, faults: list[tuple[str, str]], runs: SmallRuns, tmp_path: Path
) -> None:
    bench, rng = Bench(runs, subject, tmp_path), np.random.default_rng(5)
    for kind, fault in faults:
        outcome = bench.try_fault(kind, bench.kinds[kind][0], fault, rng)
        assert outcome.verdict == "healed", outcome


def test_no_damaged_dataset_is_read(runs: SmallRuns, tmp_path: Path) -> None:
    bench = Bench(runs, "dataset", tmp_path)
    outcomes = list(bench.try_all(1, 2, np.random.default_rng(6)))
    assert {outcome.fault for outcome in outcomes} == set(FAULTS)
    assert {outcome.verdict for outcome in outcomes} == {"refused"}
    assert all("make it again with the command" in outcome.refused for outcome in outcomes)


def test_what_nobody_notices_is_called_silent() -> None:
    seen = {"noticed": False, "refused": "", "differ": ("clips",)}
    assert Outcome("clips", "bit", **seen).verdict == "silent"  # type: ignore[arg-type]
    assert Outcome("clips", "bit", **(seen | {"differ": ()})).verdict == "without effect"  # type: ignore[arg-type]


def test_kinds_of_files(tmp_path: Path) -> None:
    names = ("out/run.json", "out/clips/a.parquet", "out/clips/b.parquet",
             "out/patterns.zarr/key/c/0", "out/patterns.zarr/key/zarr.json",
             "out/ledger.sqlite.lock")  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a")
    kinds = list_kinds(tmp_path, "out")
    assert {kind: len(files) for kind, files in kinds.items()} == {
        "run.json": 1, "clips": 2, "patterns.zarr/key": 1, "patterns.zarr/**/zarr.json": 1,
    }  # fmt: skip

"""The tables of the results: what is measured is kept, and what is not is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import results
from tests.benchmarks.conftest import Benchmark
from tests.support.tables import read_number, read_table

FIGURES = {
    "recall": 0.9, "false_alarms": 1234, "false_alarm_rate": 0.001, "recall_unseen": 0.8,
    "recall_at_0.001": 0.7, "recall_at_0.002": 0.6, "pr_auc": 0.5, "odst_s": 12.0,
}  # fmt: skip


@pytest.fixture
def work(tmp_path: Path, marked: Path) -> results.Work:
    """The marked layout in the place of both designs."""
    for number in results.DESIGNS:
        for spec in (results.SPEC, results.COARSE):
            (tmp_path / f"iccad2012-{number}-{spec.pixel_nm:g}nm").symlink_to(marked)
    return results.Work(tmp_path, tmp_path, more=True)


def test_ablated_networks_are_trained_once(
    work: results.Work, in_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = {"epochs": 1, "steps": 1, "batch": 4}
    table = {"ours": ({}, short), "squeeze": ({"attention": "squeeze_excitation"}, short)}
    monkeypatch.setattr(results, "ABLATION", table)
    unmeasured = results.Work(work.data, work.folder, more=False)
    assert results.ablation(unmeasured) == "Not measured yet."
    printed = results.ablation(work)
    rows = read_table(printed)[1:]
    assert [row[0] for row in rows] == ["ours", "squeeze"]
    for row in rows:
        mean, spread = map(read_number, row[1].split(" ± "))
        assert 0 < mean <= 1
        assert spread >= 0
    assert len(list(work.folder.glob("ablation-*.json"))) == 4
    assert results.ablation(unmeasured) == printed


def test_rows_hold_what_was_measured(
    benchmark: Benchmark, work: results.Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "DETECTORS", {"attention": None})
    page = work.folder / "page.md"
    page.write_text("before\n<!-- rows -->\nold\n<!-- end of rows -->\nafter\n")
    monkeypatch.setattr(results, "PAGE", page)
    (work.folder / "attention-4.train.json").write_text(json.dumps({"seconds": 7.0}))
    for protocol in ("core", "scan"):
        (work.folder / f"attention-4.4.{protocol}.json").write_text(json.dumps(FIGURES))
    printed = benchmark(results, "--work", work.folder, "--only", "rows", "--measured", "--write")
    header, first, *rest = read_table(printed)
    assert first[:5] == ["4", "attention", "4", "90.00%", "1,234"]
    assert first[-2:] == ["12", "7"]
    assert [row[0] for row in rest] == ["5", "4+5"]
    assert all("not measured yet" in row for row in rest)
    assert len(first) == len(header) == len(rest[0])
    written = page.read_text()
    assert written.startswith(f"before\n<!-- rows -->\n{printed.strip()}\n\n")
    assert written.endswith("<!-- end of rows -->\nafter\n")
    assert "old" not in written


def test_regions_and_the_picture_wait_for_their_models(work: results.Work) -> None:
    for case in ("2", "3"):
        (work.folder / f"iccad2016-{case}").mkdir()
    unmeasured = results.Work(work.data, work.folder, more=False)
    assert results.regions(unmeasured) == "Not measured yet."
    assert results.picture(unmeasured) == "Not drawn yet."


def test_false_alarms_at_a_recall() -> None:
    scores = np.array([0.9, 0.8, 0.4, 0.95, 0.8, 0.5, 0.1], np.float32)
    labels = np.array([1, 1, 1, 0, 0, 0, 0], bool)
    found = [results.alarms_at(scores, labels, recall) for recall in (0.3, 0.6, 1.0)]
    assert found == [1, 2, 3]

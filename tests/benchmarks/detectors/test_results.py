"""The tables of the results: what is measured is kept, and what is not is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.detectors import results
from pipeline.train.model import train_model
from tests.benchmarks.conftest import Benchmark
from tests.support.tables import read_number, read_table

FIGURES = {
    "recall": 0.9, "false_alarms": 1234, "false_alarm_rate": 0.001, "recall_unseen": 0.8,
    "recall_at_0.001": 0.7, "recall_at_0.002": 0.6, "pr_auc": 0.5, "odst_s": 12.0,
    "detection_s": 2.0,
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
    assert len(list(work.folder.glob("ablation-*.json"))) == 2 * len(results.SEEDS)
    assert results.ablation(unmeasured) == printed


def test_rows_hold_what_was_measured(
    benchmark: Benchmark, work: results.Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {"attention": results.Row("attention"), "look": results.Row("attention", one_look=True)}
    monkeypatch.setattr(results, "ROWS", ours)
    page = work.folder / "page.md"
    page.write_text("before\n<!-- rows -->\nold\n<!-- end of rows -->\nafter\n")
    monkeypatch.setattr(results, "PAGE", page)
    (work.folder / "attention-4.train.json").write_text(json.dumps({"seconds": 7.0}))
    for name in ours:
        for protocol in ("core", "scan"):
            (work.folder / f"{name}-4.4.{protocol}.json").write_text(json.dumps(FIGURES))
    seconds = {"4 attention 4": 5.0, "4 look 4": 0.25}
    (work.folder / "detection.json").write_text(json.dumps(seconds))
    printed = benchmark(results, "--work", work.folder, "--only", "rows", "--measured", "--write")
    header, first, look, *rest = read_table(printed)
    assert first[:5] == ["4", "attention", "4", "90.00%", "1,234"]
    assert first[-3:] == ["5.0", "15", "7"]
    assert look[1] == "look"
    assert look[-3:] == ["0.2", "10", "7"]
    assert [row[0] for row in rest] == ["5", "5", "4+5", "4+5"]
    assert all("not measured yet" in row for row in rest)
    assert len(first) == len(header) == len(rest[0])
    written = page.read_text()
    assert written.startswith(f"before\n<!-- rows -->\n{printed.strip()}\n\n")
    assert written.endswith("<!-- end of rows -->\nafter\n")
    assert "old" not in written


def test_regions_wait_for_their_model(work: results.Work) -> None:
    for case in ("2", "3"):
        (work.folder / f"iccad2016-{case}").mkdir()
    unmeasured = results.Work(work.data, work.folder, more=False)
    assert results.regions(unmeasured) == "Not measured yet."


def test_false_alarms_at_a_recall() -> None:
    scores = np.array([0.9, 0.8, 0.4, 0.95, 0.8, 0.5, 0.1], np.float32)
    labels = np.array([1, 1, 1, 0, 0, 0, 0], bool)
    found = [results.alarms_at(scores, labels, recall) for recall in (0.3, 0.6, 1.0)]
    assert found == [1, 2, 3]


def test_detectors_are_trained_distilled_and_timed_in_one_run(
    work: results.Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "DESIGNS", ("4",))
    monkeypatch.setattr(results, "WORKERS", 1)
    ours = {name: row for name, row in results.ROWS.items() if row.detector == "attention"}
    monkeypatch.setattr(results, "ROWS", ours)
    asked: list[str | None] = []

    def train(request: Any, *given: Any) -> dict[str, Any]:
        """Short, and without a teacher: this layout has too few clips for one."""
        asked.append(request.distil)
        short = {"epochs": 1, "steps": 1, "batch": 4}
        return train_model(replace(request, training=short, distil=None), *given)

    monkeypatch.setattr(results, "train_model", train)
    table = read_table(results.looks(work))
    assert asked == [None, str(work.folder / "attention-4.pt")]
    assert [row[1] for row in table[1:]] == list(ours)
    seconds = json.loads((work.folder / "detection.json").read_text())
    assert seconds.keys() == {f"4 {name} 4" for name in ours}
    assert all(value > 0 for value in seconds.values())
    unmeasured = results.Work(work.data, work.folder, more=False)
    assert read_table(results.looks(unmeasured)) == table

"""The tutorial works: its commands and programs run as printed, and the hotspot is gone."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from docs.tools.run_tutorial import PAGE, read_blocks, run_tutorial

ROI = "121,40,134,54"
"""Around a pinched neck of the block; the tutorial itself scans everything."""


def confirmed(run: Path) -> int:
    return int(json.loads((run / "report" / "metrics.json").read_text())["hotspots_confirmed"])


def kinds(table: Path) -> list[str]:
    return [row["kind"] for row in csv.DictReader(table.read_text().splitlines())]


def test_the_tutorial_fixes_its_hotspot(tmp_path: Path) -> None:
    folder = tmp_path / "tutorial"
    run_tutorial(folder, ROI)
    assert confirmed(folder / "run2") < confirmed(folder / "run")
    assert "pinch" in kinds(folder / "before" / "defects.csv")
    assert "pinch" not in kinds(folder / "after" / "defects.csv")
    metrics = json.loads((folder / "run2" / "report" / "metrics.json").read_text())
    assert metrics["complete"]
    assert metrics["patterns_taken_over"] > 0


def test_every_program_of_the_tutorial_is_called() -> None:
    blocks = list(read_blocks(PAGE.read_text()))
    called = "".join(text for language, _, text in blocks if language == "sh")
    programs = [name for language, name, _ in blocks if language == "python"]
    assert len(programs) == 3
    assert all(f"python {name}\n" in called for name in programs)

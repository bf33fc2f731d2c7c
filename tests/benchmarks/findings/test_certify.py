"""The study of certifying counts what it says it counts."""

from __future__ import annotations

from benchmarks.findings.certify import run_loop, study
from stages.audit.looks import Aim
from tests.stages.audit.test_certify import make_area


def test_a_row_is_of_its_loops() -> None:
    frame, hot = make_area()
    aim = Aim(0.9, 0.1)
    one = run_loop(frame, hot, aim, 0)
    cells = [cell.strip() for cell in study(frame, hot, aim, [0]).split("|")]
    assert cells[:2] == ["1 of 1", f"{int(one.recall >= one.low)} of 1"]
    assert cells[2:5] == [f"{one.recall:.2%}", f"{one.share:.1%}", f"{one.share:.1%}"]

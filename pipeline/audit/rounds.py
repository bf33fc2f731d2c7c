"""The rounds of certifying, as files: what each simulates, and what is known in the end.

in       `Round` and `Progress` of `stages.audit.certify`
out      per round a table of clips; ``RUN/certify/clips.parquet`` of all of them with verdicts
promise  a round is read as it was chosen; the last table alone gives the result
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.engine.storage.run_directory import Run, write_table
from pipeline.engine.storage.tables import explain_damage, read_table
from stages.audit.certify import Frame, Progress, Round
from stages.audit.looks import EDGES, Aim, Stated
from stages.contracts import Clips, Int64s

RESULT = "certify/clips.parquet"
"""The table of the result, relative to the run directory."""

_ROUND = pa.schema([
    ("row", pa.int64()), ("chance", pa.float64()), ("likely", pa.bool_()),
])  # fmt: skip
_RESULT = pa.schema([("x_dbu", pa.int64()), ("y_dbu", pa.int64()), ("hotspot", pa.bool_())])


@dataclass(frozen=True, slots=True)
class Certified:
    """The result of certifying."""

    aim: Aim
    stated: Stated | None
    """What the last look says; None where there was none."""
    low: float
    """Lower bound of the recall, by the best of all looks."""
    rounds: int
    looks: int
    frame: int
    """Clips of the scan."""
    simulated: int
    hotspots: int
    """Clips that fail, all of them known."""

    @property
    def reached(self) -> bool:
        """Whether the aim was reached."""
        said = self.stated
        return self.simulated == self.frame or (said is not None and said.meets(self.aim))

    @property
    def share(self) -> float:
        """Share of the clips that was simulated."""
        return self.simulated / self.frame if self.frame else 1.0


def name_round(number: int) -> str:
    """Return the file of a round, relative to the run directory."""
    return f"certify/rounds/{number:03d}.parquet"


def write_round(run: Path, number: int, chosen: Round | None) -> None:
    """Write what a round simulates; nothing where the budget does not allow one."""
    strata: dict[str, list[int] | None] = {"drawn": None, "sizes": None}
    columns: list[Any] = [[], [], []]
    if chosen is not None:
        columns = [chosen.clips, chosen.chance, chosen.likely]
        if chosen.drawn is not None and chosen.sizes is not None:
            strata = {"drawn": chosen.drawn.tolist(), "sizes": chosen.sizes.tolist()}
    schema = _ROUND.with_metadata({"round": json.dumps(strata)})
    write_table(run / name_round(number), pa.table(columns, schema=schema))


def read_round(run: Path, number: int, clips: int) -> Round | None:
    """Return what a round simulates; None where the budget did not allow one.

    Parameters
    ----------
    clips
        Clips of the frame.

    Raises
    ------
    IncompleteError
        When it is missing or damaged.
    """
    with explain_damage(run / name_round(number)):
        table = read_table(run / name_round(number), _ROUND)
        strata = json.loads(table.schema.metadata[b"round"])
        row, chance, likely = (table[name].to_numpy() for name in _ROUND.names)
        if not len(row):
            return None
        drawn, sizes = (_read_counts(strata[name]) for name in ("drawn", "sizes"))
        if (np.diff(row) <= 0).any() or row[0] < 0 or row[-1] >= clips:
            raise ValueError("it names clips that the scan does not have")
        return Round(row, chance, likely, drawn, sizes)


def _read_counts(values: list[int] | None) -> Int64s | None:
    if values is None:
        return None
    counts = np.array(values, np.int64)
    if counts.shape != (len(EDGES) + 1,) or (counts < 0).any():
        raise ValueError(f"the clips of its strata are {values}")
    return counts


def write_result(run: Path, frame: Frame, progress: Progress, aim: Aim) -> None:
    """Write every simulated clip with its verdict, and what follows."""
    done = progress.simulated
    about = {
        "aim": asdict(aim), "stated": progress.stated and asdict(progress.stated),
        "low": progress.low, "rounds": progress.rounds, "looks": progress.looks,
        "frame": len(frame),
    }  # fmt: skip
    schema = _RESULT.with_metadata({"certify": json.dumps(about)})
    columns = [frame.x_dbu[done], frame.y_dbu[done], progress.failing[done]]
    write_table(run / RESULT, pa.table(columns, schema=schema))


def read_result(run: Path) -> Certified:
    """Return the result of certifying.

    Raises
    ------
    IncompleteError
        When it is missing or damaged.
    """
    with explain_damage(run / RESULT):
        table = read_table(run / RESULT, _RESULT)
        about = json.loads(table.schema.metadata[b"certify"])
        stated = Stated(**about["stated"]) if about["stated"] else None
        return Certified(
            Aim(**about["aim"]), stated, float(about["low"]), about["rounds"], about["looks"],
            about["frame"], len(table), int(table["hotspot"].to_numpy().sum()),
        )  # fmt: skip


def find_failing(run: Run, clips: Clips) -> npt.NDArray[np.bool_]:
    """Return which clips of a scan certifying found to fail, (n,)."""
    table = read_table(run.path / RESULT, _RESULT)
    rows = table.filter(table["hotspot"])
    failing = set(zip(*(rows[axis].to_pylist() for axis in ("x_dbu", "y_dbu")), strict=True))
    places = zip(clips.x_dbu.tolist(), clips.y_dbu.tolist(), strict=True)
    return np.array([place in failing for place in places], bool)

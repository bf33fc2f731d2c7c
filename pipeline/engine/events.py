"""Progress, as events: what a session reports while it runs.

in       what the driver records
out      small values, given to a listener
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from stages.arithmetic import Arithmetic


@dataclass(frozen=True, slots=True)
class StageStarted:
    """A stage begins."""

    stage: str
    total: int
    """Number of units, those that an earlier session finished included."""
    done: int = 0
    """Number of units that an earlier session finished."""
    noun: str = "units"
    """What the stage calls its units, in the plural."""


@dataclass(frozen=True, slots=True)
class UnitFinished:
    """One more unit is recorded."""

    stage: str
    done: int
    """Number of units recorded so far, earlier sessions included."""
    total: int
    counts: Mapping[str, float] = field(default_factory=dict)
    """What this unit counted."""


@dataclass(frozen=True, slots=True)
class StageFinished:
    """A stage ends."""

    stage: str
    done: int
    total: int
    failed: int = 0
    """How many of `done` failed."""
    seconds: float = 0.0
    """Wall time of the stage in this session."""


@dataclass(frozen=True, slots=True)
class DataDamaged:
    """Stored data of finished units is not what was written; they run again."""

    stage: str
    units: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ArithmeticChanged:
    """Finished units were computed by other arithmetic than what is there now; they run again."""

    stage: str
    units: tuple[str, ...]
    before: tuple[Arithmetic, ...]
    now: Arithmetic


@dataclass(frozen=True, slots=True)
class WorkersDiffer:
    """Some workers compute otherwise than the units of a stage; they get none of them."""

    stage: str
    hosts: tuple[str, ...]
    """The machines that get none."""
    chosen: Arithmetic


@dataclass(frozen=True, slots=True)
class ScoresNotReused:
    """The scores of an earlier run were computed by other arithmetic; none is reused."""

    run: str
    before: Arithmetic | None
    """None where the scores of the run are of several."""
    now: Arithmetic


@dataclass(frozen=True, slots=True)
class LayerStarted:
    """One of several layers is scanned from here on."""

    layer: str
    number: int
    """From 1."""
    total: int


@dataclass(frozen=True, slots=True)
class RoundEnded:
    """A round of certifying ends."""

    number: int
    """From 1."""
    look: bool
    """Whether it was a look."""
    hotspots: int
    """Known ones."""
    recall: float
    """Share of the hotspots that is known: by a look, else by the model."""
    low: float
    """Lower bound of it, by the looks so far."""
    share: float
    """Share of the clips that was simulated."""
    price: float
    """Share of the clips that the last look takes if it finds no hotspot."""


Notice = (
    LayerStarted | DataDamaged | ArithmeticChanged | WorkersDiffer | ScoresNotReused | RoundEnded
)
Step = StageStarted | UnitFinished | StageFinished
Event = Notice | Step
Listener = Callable[[Event], None]


def describe_notice(event: Notice) -> str:
    """Return what a notice says, on one line."""
    match event:
        case LayerStarted(layer, number, total):
            return f"layer {layer}, {number} of {total}"
        case DataDamaged(stage, units):
            return f"{stage}: {len(units)} damaged on disk, computed again"
        case ArithmeticChanged(stage, units, before, now):
            return (
                f"{stage}: {len(units)} were computed by {_name(before)}, which rounds differently "
                f"from {now.name}; computed again"
            )
        case WorkersDiffer(stage, hosts, chosen):
            return (
                f"{stage}: workers on {', '.join(hosts)} round differently from {chosen.name} and "
                "get no work in this stage"
            )
        case RoundEnded(number, look, hotspots, recall, low, share, price):
            known, spent, more = (f"{100 * part:.1f} %" for part in (recall, share, price))
            if look:
                said = f"{known} of all, at least {100 * low:.1f} % at 95 % confidence"
                rest = ""
            else:
                said, rest = f"about {known} of all", f"; a last look takes {more} or more"
            return (
                f"round {number}: {hotspots:,} failing clips known, {said}; {spent} of the clips "
                f"simulated{rest}"
            )
        case ScoresNotReused(run, before, now):
            return (
                f"scores: those of {run} were computed by {_name((before,))}, which rounds "
                f"differently from {now.name}; not reused"
            )


def _name(before: Sequence[Arithmetic | None]) -> str:
    return ", ".join(one.name if one else "several processors" for one in before)

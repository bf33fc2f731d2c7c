"""Progress, as events: what a session reports while it runs.

in       what the driver records
out      small values, given to a listener
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


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


Event = DataDamaged | StageStarted | UnitFinished | StageFinished
Listener = Callable[[Event], None]

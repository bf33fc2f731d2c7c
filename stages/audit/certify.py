"""Certifying, round by round: which clips to simulate next, and what is known after each round.

in       the clips of a scan with a few features of their pictures, an aim, a budget
out      `Round`: clips to simulate; after their verdicts, `Progress`
promise  the rounds follow from the seed and the verdicts: whoever has these finds the same rounds

A round is a batch of clips that are likely to fail, and of a few at random, or a look. After each
the model is fitted again to everything that was simulated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from stages.audit.draw import UInt64s, rank_clips
from stages.audit.estimate import Sampled
from stages.audit.looks import EDGES, Aim, Stated, place_by_chance, state_recall
from stages.audit.policy import FIRST_SHARE, Bools, Step, choose_step, measure_trust
from stages.audit.refit import Head, fit_head, place_knots
from stages.contracts import Float32s, Floats, Int64s


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Every clip that may be simulated."""

    x_dbu: Int64s
    y_dbu: Int64s
    pattern: Int64s
    """(n,) row of the clip's picture in `features`."""
    features: Float32s
    """(p, f)"""
    start: Floats
    """(p,) the higher, the likelier to fail, before anything was simulated."""

    def __len__(self) -> int:
        return len(self.x_dbu)


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """Clips to simulate together."""

    clips: Int64s
    """(m,) rows of the frame, ascending."""
    chance: Floats
    """(m,) to fail, by the model of the round; 0 in the first."""
    likely: Bools
    """(m,) whether the clip was chosen for its chance, not at random."""
    drawn: Int64s | None = None
    """(strata,) clips of each stratum of a look; None of a batch."""
    sizes: Int64s | None = None
    """(strata,) open clips of each before the look."""


@dataclass(frozen=True, slots=True, eq=False)
class Progress:
    """What is known after some rounds."""

    simulated: Bools
    """(n,)"""
    failing: Bools
    """(n,) simulated, and fails."""
    rounds: int = 0
    looks: int = 0
    trust: float = 1.0
    """See `measure_trust`."""
    stated: Stated | None = None
    """What the last look says."""
    low: float = 0.0
    """Best lower bound of all looks: more is known now than then, and all hold at once."""

    @classmethod
    def of(cls, frame: Frame) -> Progress:
        """Return what is known before the first round."""
        none = np.zeros(len(frame), bool)
        return cls(none, none)

    @property
    def hotspots(self) -> int:
        """Hotspots that are known."""
        return int(self.failing.sum())

    @property
    def share(self) -> float:
        """Share of the clips that was simulated."""
        return float(self.simulated.mean()) if len(self.simulated) else 0.0

    def meets(self, aim: Aim) -> bool:
        """Return whether the last look certifies, or every clip was simulated."""
        return bool(self.simulated.all()) or (self.stated is not None and self.stated.meets(aim))


def fit_progress(frame: Frame, progress: Progress) -> Head:
    """Fit a model to everything that was simulated."""
    clips, failing = (
        np.bincount(frame.pattern[which], minlength=len(frame.features))
        for which in (progress.simulated, progress.failing)
    )
    used = clips > 0
    knots = place_knots(frame.features)
    return fit_head(frame.features[used], clips[used], failing[used], knots)


def choose_round(
    frame: Frame, progress: Progress, aim: Aim, budget: int, seed: int
) -> Round | None:
    """Return the next round; None where the budget is spent.

    Parameters
    ----------
    budget
        Clips that may be simulated in all rounds.
    """
    rank = rank_clips(frame.x_dbu, frame.y_dbu, _mix_seed(seed, progress.rounds))
    if not progress.rounds:
        few = min(max(1, round(FIRST_SHARE * len(frame))), budget // 2)
        first = _take(frame.start[frame.pattern], ~progress.simulated, rank, Step(few, few))
        return replace(first, chance=np.zeros(len(first.clips))) if few else None
    chance = fit_progress(frame, progress).compute_chance(frame.features)[frame.pattern]
    trusted = np.minimum(progress.trust * chance, 1.0)
    is_open = ~progress.simulated
    step = choose_step(
        trusted[is_open], int(progress.simulated.sum()), progress.hotspots, aim, progress.looks,
        budget,
    )  # fmt: skip
    if step is None:
        return None
    if step.drawn is None:
        return _take(chance, is_open, rank, step)
    return _take_look(trusted, is_open, rank, step.drawn)


def _mix_seed(seed: int, rounds: int) -> int:
    """Return a seed for the draws of a round: those of rounds are independent."""
    mixed = rank_clips(np.array([rounds]), np.array([0]), seed)
    return int(mixed[0] >> np.uint64(1))


def _take(chance: Floats, is_open: Bools, rank: UInt64s, step: Step) -> Round:
    """Return a batch: the clips of highest chance, equal ones at random, and some at random."""
    rows = np.flatnonzero(is_open)
    rows = rows[np.lexsort((rank[rows], -chance[rows]))]
    likely, rest = np.split(rows, [step.likely])
    explored = rest[np.argsort(rank[rest], kind="stable")[: step.explored]]
    clips = np.sort(np.concatenate([likely, explored]))
    return Round(clips, chance[clips], np.isin(clips, likely))


def _take_look(chance: Floats, is_open: Bools, rank: UInt64s, drawn: Int64s) -> Round:
    """Return a look: of each stratum the clips with the least random numbers."""
    rows = np.flatnonzero(is_open)
    stratum = place_by_chance(chance[rows])
    parts = []
    for number, count in enumerate(drawn.tolist()):
        members = rows[stratum == number]
        parts.append(members[np.argsort(rank[members], kind="stable")[:count]])
    clips = np.sort(np.concatenate(parts))
    sizes = np.bincount(stratum, minlength=len(EDGES) + 1)
    return Round(clips, chance[clips], np.zeros(len(clips), bool), drawn, sizes)


def record_round(progress: Progress, done: Round, failing: Bools) -> Progress:
    """Return what is known after a round.

    Parameters
    ----------
    failing
        (m,) the verdict on each of the round's clips.
    """
    simulated, known = progress.simulated.copy(), progress.failing.copy()
    simulated[done.clips], known[done.clips] = True, failing
    after = replace(progress, simulated=simulated, failing=known, rounds=progress.rounds + 1)
    if done.drawn is None:
        if not progress.rounds:
            return after
        return replace(after, trust=measure_trust(done.chance[done.likely], failing[done.likely]))
    assert done.sizes is not None  # of a look
    hits = np.bincount(place_by_chance(done.chance)[failing], minlength=len(EDGES) + 1)
    strata = [
        Sampled(size, drawn, missed=hit)
        for size, drawn, hit in zip(
            done.sizes.tolist(), done.drawn.tolist(), hits.tolist(), strict=True
        )
    ]
    stated = state_recall(strata, progress.hotspots, progress.looks)
    return replace(
        after, looks=progress.looks + 1, stated=stated, low=max(progress.low, stated.low), trust=1.0
    )

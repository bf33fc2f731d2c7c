"""The policy of certifying: simulate more of the likely clips, or look.

in       the chance of each open clip to fail, what is known, what may be spent
out      `Step`: how many clips to simulate next, and which kind
promise  the same state gives the same step

A missed hotspot costs a look dearly: to allow as many misses with one hit as with none takes half
as many clips again. So a clip is worth simulating at once where its chance to fail times that price
is over one, and a look is due when no such clip is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.audit.looks import EDGES, Aim, estimate_price, place_by_chance, plan_look
from stages.contracts import Floats, Int64s

Bools = npt.NDArray[np.bool_]

HIT = 0.54
"""By how much of its price a look gets dearer with a first hit: 4.95 / 3.22 - 1."""
GROWTH = 0.25
"""Most clips of a batch, as a share of those simulated before: then the model is fitted again."""
LEAST_BATCH = 256
"""Fewest clips that are worth a batch: a look that is due draws as many likely ones anyway."""
EXPLORED = 0.1
"""Clips drawn at random beside a batch, as a share of it: a model does not choose what it does not
know."""
FIRST_SHARE = 0.004
"""Share of the clips that is drawn at random before anything is known; as many likely ones are."""
KEPT = 1 / 3
"""Largest share of the budget that is kept for a look, so that a loop ends with a statement."""
MOST_TRUST = 4.0
"""Most by which chances are scaled after a batch in which more fail than they say."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next."""

    likely: int
    """Clips to simulate of those with the highest chance to fail."""
    explored: int
    """Clips to simulate at random."""
    drawn: Int64s | None = None
    """(strata,) clips of a look; None where it is a batch."""


def measure_trust(chance: Floats, failing: Bools) -> float:
    """Return by how much to scale the chances of the open clips, from those of a batch.

    Of the likely clips of the batch that half counts whose chances were lower: they are nearest to
    those that are still open. There a model has seen few clips that might fail and do not.

    Parameters
    ----------
    chance, failing
        (n,) of the likely clips of the last batch, the chances as they were when it was chosen.
    """
    lower = np.argsort(chance, kind="stable")[: (len(chance) + 1) // 2]
    ratio = (float(failing[lower].sum()) + 0.5) / (float(chance[lower].sum()) + 0.5)
    return min(ratio, MOST_TRUST)


def choose_step(
    chance: Floats, simulated: int, known: int, aim: Aim, look: int, budget: int
) -> Step | None:
    """Return what to do next; None where the budget is spent.

    Parameters
    ----------
    chance
        (n,) probability of each open clip to fail.
    simulated, known
        Clips that are not open, and hotspots among them.
    look
        Looks before this.
    budget
        Clips that may be simulated in all. What a look takes is kept for one, up to `KEPT`.
    """
    price = estimate_price(len(chance), known + float(chance.sum()), aim)
    likely = int((chance * HIT * price > 1).sum())
    left = budget - simulated
    room = left - min(price, int(KEPT * budget))
    if likely >= LEAST_BATCH and room > 0:
        batch = min(likely, max(LEAST_BATCH, int(GROWTH * simulated)), room)
        return Step(batch, min(int(EXPLORED * batch), room - batch))
    stratum, strata = place_by_chance(chance), len(EDGES) + 1
    sizes = np.bincount(stratum, minlength=strata)
    sums = np.bincount(stratum, chance, minlength=strata)
    drawn = plan_look(sizes, sums / np.maximum(sizes, 1), known, aim, look, left)
    return None if drawn is None else Step(0, 0, drawn)

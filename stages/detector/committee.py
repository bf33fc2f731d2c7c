"""Several networks that judge together, each in every orientation, where one alone has a doubt.

in: pictures; out: a quick verdict of the first, and a careful one of all.
promise: what the careful verdict of a clip is depends on its picture alone.

Trained on few hotspots, networks differ by chance, and one differs with the orientation of the
clip: the mean over members and symmetries loses half of that. Most clips are so clearly cold that
a quick look tells; only the others are worth the careful one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.detector.network import Judgement, Network


@dataclass(frozen=True, slots=True)
class Rules:
    """How a committee judges."""

    members: int = 1
    symmetries: int = 8
    """Orientations that all mean the same: 8, or 4 where x and y differ."""
    ensemble_from: float = math.inf
    """Least log odds, at a quick look and before the next two, of a clip judged with care."""
    scale: float = 1.0
    shift: float = 0.0
    """What makes log odds those of clips as they come: ``scale * x + shift`` (J. Platt, 1999)."""


class Committee(Network):
    """Networks of one kind."""

    def __init__(self, members: Sequence[Network], rules: Rules) -> None:
        super().__init__()
        self.config = members[0].config
        self.rules = rules
        self.members = nn.ModuleList(members)

    @property
    def ensemble_from(self) -> float:
        """Least log odds, at a quick look, of a clip that is judged with care."""
        return self.rules.scale * self.rules.ensemble_from + self.rules.shift

    def forward(self, x: Tensor) -> Judgement:
        """Judge clips quickly, (n, layers, h, w): by the first member, as they lie."""
        judgement: Judgement = self.members[0](x)
        return judgement._replace(logit=self._calibrated(judgement.logit))

    def careful(self, x: Tensor) -> Tensor:
        """Return the log odds of the members' mean probability, (n,).

        Each member's own log odds are the mean over orientations. One that is blind to a kind of
        hotspot says so with great certainty: in a mean of log odds it would have a veto.
        M. Stone: "The opinion pool", Annals of Mathematical Statistics 1961.
        """
        total = torch.zeros(len(self.members), len(x), device=x.device)
        for turned in orientations(x, self.rules.symmetries):
            total = total + torch.stack([member(turned).logit for member in self.members])
        return pooled(self._calibrated(total / self.rules.symmetries))

    def likeness(self, x: Tensor) -> Tensor:
        """Return vectors by which clips are compared, in the eyes of the first member."""
        first = cast(Network, self.members[0])
        return first.likeness(x)

    def where(self, x: Tensor) -> Tensor | None:
        """Return what each place adds to a member's log odds, as the mean of the members has it."""
        members = [cast(Network, member) for member in self.members]
        maps = [found for member in members if (found := member.where(x)) is not None]
        return self.rules.scale * torch.stack(maps).mean(0) if maps else None

    def _calibrated(self, logit: Tensor) -> Tensor:
        return logit * self.rules.scale + self.rules.shift


def pooled(odds: Tensor) -> Tensor:
    """Return the log odds of the mean of probabilities, (n,), whose log odds are (members, n)."""
    if len(odds) == 1:
        return odds[0]
    return F.logsigmoid(odds).logsumexp(0) - F.logsigmoid(-odds).logsumexp(0)


def orientations(x: Tensor, symmetries: int) -> Iterator[Tensor]:
    """Yield pictures in each of 4 or 8 orientations, (n, layers, h, w)."""
    for turned in (x, x.transpose(2, 3))[: symmetries // 4]:
        for axes in ((), (2,), (3,), (2, 3)):
            yield turned.flip(axes).contiguous(memory_format=torch.channels_last)

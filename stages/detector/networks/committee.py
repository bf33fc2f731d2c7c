"""An ensemble of networks, each applied in every orientation, for clips that one pass leaves open.

in: pictures; out: a single-pass prediction of the first member, and an ensemble one of all.
promise: the ensemble prediction of a clip depends on its picture only.

Networks trained on few hotspots vary randomly, and the prediction of each varies with the
orientation of the clip; the mean over members and symmetries halves that. For most clips a single
pass gives a confident negative; only the others are worth the cost of the ensemble.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.detector.networks.network import Network, Prediction, turn
from stages.detector.networks.shapes import Rules


class Committee(Network):
    """Networks of one kind, combined."""

    def __init__(self, members: Sequence[Network], rules: Rules) -> None:
        super().__init__()
        self.config, self.kinds = members[0].config, members[0].kinds
        self.rules = rules
        self.members = nn.ModuleList(members)

    @property
    def ensemble_from(self) -> float:
        """Calibrated log odds of a single pass from which the ensemble decides."""
        return self.rules.scale * self.rules.ensemble_from + self.rules.shift

    def forward(self, x: Tensor) -> Prediction:
        """Predict in a single pass, (n, layers, h, w): the first member, one orientation."""
        prediction: Prediction = self.members[0](x)
        return prediction._replace(logit=self._calibrate(prediction.logit))

    def ensemble_logit(self, x: Tensor) -> Tensor:
        """Return the log odds of the members' mean probability, (n,).

        The log odds of a member are the mean over orientations. A member that does not know a kind
        of hotspot is very confident that it is none: a mean of log odds would give it a veto.
        M. Stone: "The opinion pool", Annals of Mathematical Statistics 1961.
        """
        total = torch.zeros(len(self.members), x.shape[0], device=x.device)
        for turned in turn(x, self.rules.symmetries):
            total = total + torch.stack([member(turned).logit for member in self.members])
        return pool_probabilities(self._calibrate(total / self.rules.symmetries))

    def likeness(self, x: Tensor) -> Tensor:
        """Return vectors for comparing clips, (n, f): those of the first member."""
        first = cast(Network, self.members[0])
        return first.likeness(x)

    def activation_map(self, x: Tensor) -> Tensor | None:
        """Return the mean over members of each place's contribution to their log odds."""
        members = [cast(Network, member) for member in self.members]
        maps = [found for member in members if (found := member.activation_map(x)) is not None]
        return self.rules.scale * torch.stack(maps).mean(0) if maps else None

    def resemblance_map(self, x: Tensor, known: Tensor, symmetries: int = 8) -> Tensor | None:
        """Return where clips are like known ones, as `likeness` does: by the first member."""
        first = cast(Network, self.members[0])
        return first.resemblance_map(x, known, symmetries)

    def _calibrate(self, logit: Tensor) -> Tensor:
        return logit * self.rules.scale + self.rules.shift


def pool_probabilities(odds: Tensor) -> Tensor:
    """Return the log odds of the mean probability, (n,), from log odds (members, n)."""
    if len(odds) == 1:
        return odds[0]
    return F.logsigmoid(odds).logsumexp(0) - F.logsigmoid(-odds).logsumexp(0)

"""The training curves of a checkpoint as a picture.

in       the epochs of each network
out      a PNG: training loss, and PR AUC and false alarms on validation
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

_PANELS = {
    "loss": "loss", "pr_auc": "PR AUC on validation",
    "false_alarms": "false alarms on validation",
}  # fmt: skip


def draw_curves(networks: Sequence[Sequence[dict[str, Any]]], path: Path) -> None:
    """Draw one curve per network; epochs as in `stages.detector.training.loop.EpochReport`."""
    panels = [
        name
        for name in _PANELS
        if any(epoch[name] is not None for one in networks for epoch in one)
    ]
    if not panels:
        return
    figure = Figure(figsize=(4 * len(panels), 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for number, one in enumerate(networks, 1):
            axes.plot([epoch["epoch"] for epoch in one], [epoch[name] for epoch in one],
                      label=f"network {number}")  # fmt: skip
        axes.set(title=_PANELS[name], xlabel="epoch")
        axes.set_ylim(bottom=0 if name != "pr_auc" else None)
    if len(networks) > 1:
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=100)

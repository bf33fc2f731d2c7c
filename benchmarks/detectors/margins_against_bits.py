"""Margins against bits: what a detector learns from each, at equal clips and steps.

python -m benchmarks.detectors.margins_against_bits [--data DIR] [--work DIR] [--train NAME ...]
    [--test NAME ...] [--seeds N] [--epochs N] [--steps N] [--most N] [--measured] [--write [PART]]

The data are the labelled layouts that `benchmarks.detectors.default_model` leaves in its work
folder, or other datasets. Each variant (`VARIANTS`) is trained with several seeds on the same
clips, for as many steps, and takes the last epoch: nothing is chosen on any clip. It is measured on
layouts that it was not trained on, in a single pass; those joined by ``+`` count as one. Weights
and figures are kept in the work folder: a stopped run resumes; ``--most`` ends it after so many
trainings. ``--write`` puts the table into docs/explanation/results.md, into the part that is named.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.detectors.results import alarms_at, put
from benchmarks.machine import machine
from pipeline.datasets.store import Dataset, load_dataset
from pipeline.evaluate.model import NEAR, compute_margin_figures
from pipeline.train.training_set import Patterns, merge_datasets
from stages.contracts import Float32s, RasterSpec
from stages.detector.catalogue import FitRequest, find_kind, fit
from stages.detector.networks.network import Network
from stages.detector.training.loop import LabelledClips, TrainingConfig, score
from stages.detector.training.thresholds import pr_auc
from stages.lithography.measure.margins import Bools, split_by_margin
from stages.scores import NetworkScorer

VARIANTS: dict[str, dict[str, Any]] = {
    "bits": {"soft_margin": 0.0, "margin_weight": 0.0},
    "margins": {},
    "margins at 0.1": {"soft_margin": 0.1},
    "margins, triplets by margin": {"metric": "batch_mean", "alike": "margin"},
}
"""Training settings of each."""
MEAN_FORMS = {
    "alarms_95": ".2%", "alarms_99": ".2%", "pr_auc": ".3f", "kind_named_rightly": ".1%",
    "margin_error_failing": ".3f", "margin_error_near": ".3f",
}  # fmt: skip
BATCH = 64
THIN = 4
"""Of the pictures without a hotspot, every fourth is judged, and counts four times."""
THREADS = 1


def main() -> None:
    """Train what is not trained, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("build/krf130-met1"))
    parser.add_argument("--work", type=Path, default=Path("build/margins-against-bits"))
    parser.add_argument("--train", nargs="+", default=["chip"])
    parser.add_argument(
        "--test", nargs="+", default=["chip-test", "tiles", "block", "macro", "bit-cells"]
    )
    parser.add_argument("--variant", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--steps", type=int, default=250, help="batches of an epoch")
    parser.add_argument("--most", type=int, default=None, help="trainings of this run")
    parser.add_argument("--measured", action="store_true", help="train nothing more")
    parser.add_argument("--write", nargs="?", const="margins", metavar="PART")
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(THREADS)
    left = 0 if asked.measured else asked.most
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in asked.variant}
    for seed in range(asked.seeds):
        for name in asked.variant:
            kept = asked.work / (
                f"{name}-{'+'.join(asked.train)}-{asked.epochs}x{asked.steps}-{seed}"
            )
            missing = [test for test in asked.test if not figures_file(kept, test).exists()]
            if missing and left != 0:
                config = TrainingConfig(
                    epochs=asked.epochs, steps=asked.steps, batch=BATCH, seed=seed, **VARIANTS[name]
                )
                measure(asked.data, asked.train, missing, config, kept)
                left = None if left is None else left - 1
            found[name].append({
                test: json.loads(figures_file(kept, test).read_text())
                for test in asked.test if figures_file(kept, test).exists()
            })  # fmt: skip
    table = write_table(found, asked.test)
    text = (
        f"{table}\n\nTrained on {', '.join(asked.train)}: {asked.epochs} epochs of {asked.steps} "
        f"batches of {BATCH} clips. {machine()}"
    )
    print(text)
    if asked.write:
        put(asked.write, text)


def figures_file(kept: Path, layout: str) -> Path:
    """Return where the figures of a training on a layout are."""
    return kept.with_name(f"{kept.name}.{layout}.json")


def measure(
    data: Path, train: list[str], test: list[str], config: TrainingConfig, kept: Path
) -> None:
    """Train one network, and write its figures on each layout; its weights are kept, too."""
    datasets = [load_dataset(data / name) for name in train]
    weights = kept.with_name(f"{kept.name}.pt")
    network = trained(merge_datasets(datasets), datasets[0].spec, config, weights)
    for name in test:
        part = kept.with_name(f"{kept.name}.part")
        part.write_text(json.dumps(measure_on(network, [data / each for each in name.split("+")])))
        part.rename(figures_file(kept, name))


def trained(patterns: Patterns, spec: RasterSpec, config: TrainingConfig, kept: Path) -> Network:
    """Return a network trained on patterns, or the one that was kept."""
    kind, clips = find_kind("attention"), patterns.to_clips()
    bits = not config.soft_margin and not config.margin_weight
    if bits:
        clips = LabelledClips(clips.rasters, clips.labels)
    shape = kind.shape(spec, core_px=0, kinds=() if bits else patterns.kinds)
    if kept.exists():
        network = kind.network(shape)
        network.load_state_dict(torch.load(kept, weights_only=True))
        return network.eval()
    network = fit(
        FitRequest("attention", shape, config), clips, None,
        lambda report, state: print(kept.stem, report.epoch, f"{report.loss:.4f}", flush=True),
    ).detector  # fmt: skip
    torch.save(network.state_dict(), kept)
    return network


def measure_on(network: Network, paths: Sequence[Path]) -> dict[str, Any]:
    """Return the figures of a network on the clips of some sets together; see `THIN`.

    Raises
    ------
    ValueError
        When no clip of theirs surely fails.
    """
    datasets = [load_dataset(path) for path in paths]
    judged = [Judged.of(network, dataset) for dataset in datasets]
    scores, fails, passes = (
        np.concatenate([getattr(each, name) for each in judged])
        for name in ("scores", "fails", "passes")
    )
    if not fails.any():
        raise ValueError(f"no clip of {', '.join(map(str, paths))} surely fails; give others")
    figures: dict[str, Any] = {
        "clips": sum(map(len, datasets)),
        "fails": int(fails.sum()),
        "passes": sum(each.all_passes for each in judged),
        "pr_auc": pr_auc(scores, fails),
        **{
            f"alarms_{recall:.0%}".rstrip("%"):
            alarms_at(scores, fails, recall) / int(passes.sum())
            for recall in (0.95, 0.99)
        },
    }  # fmt: skip
    if network.kinds and all(dataset.kinds == network.kinds for dataset in datasets):
        near = [predict_near(network, *pair) for pair in zip(datasets, judged, strict=True)]
        known, predicted = (np.concatenate(parts) for parts in zip(*near, strict=True))
        figures |= compute_margin_figures(known, predicted, network.kinds)
    return figures


@dataclass(frozen=True, slots=True)
class Judged:
    """The clips of a set that are counted, each as often as it counts; see `THIN`."""

    scores: Float32s
    fails: Bools
    passes: Bools
    all_passes: int
    """Clips that surely pass, whether judged or not."""
    near: Bools
    """Of all clips: those that surely fail, and those judged that are near the limit."""

    @classmethod
    def of(cls, network: Network, dataset: Dataset) -> Judged:
        """Score a set."""
        worst, hot = dataset.worst_margin(), dataset.counts()[0] > 0
        others = np.flatnonzero(~hot)
        judged = hot.copy()
        judged[others[::THIN]] = True
        place = np.cumsum(judged) - 1
        scores = score(network, dataset.raster[judged])[place[dataset.pattern]]
        fails, passes = split_by_margin(worst)
        chosen = judged[dataset.pattern]
        counted = np.repeat(
            np.arange(len(dataset)),
            np.where(hot, 1, THIN)[dataset.pattern] * ((fails | passes) & chosen),
        )
        # No figure is of clips further than this from the limit.
        near = (fails | (np.abs(worst) <= NEAR)) & chosen
        return cls(scores[counted], fails[counted], passes[counted], int(passes.sum()), near)


def predict_near(network: Network, dataset: Dataset, judged: Judged) -> tuple[Float32s, Float32s]:
    """Return the margins of the clips near a limit, (n, kinds), and those that are predicted."""
    assert dataset.margin is not None  # it has kinds
    used, pattern = np.unique(dataset.pattern[judged.near], return_inverse=True)
    predicted = NetworkScorer(network, dataset.spec).predict_margins(dataset.raster[used])
    return dataset.margin[judged.near], predicted[pattern]


def write_table(found: dict[str, list[dict[str, Any]]], layouts: list[str]) -> str:
    """Return the figures as a table: mean and standard deviation over the seeds."""
    lines = [
        "| layout | surely fail | trained on | seeds | false alarms at 95 % recall | at 99 % | "
        "PR AUC | kind named rightly | error of the margin, failing | near the limit |",
        "|---|--:|---|--:|" + "--:|" * len(MEAN_FORMS),
    ]
    for layout in layouts:
        for name, seeds in found.items():
            mine = [one[layout] for one in seeds if layout in one]
            if mine:
                cells = " | ".join(spread(mine, key, form) for key, form in MEAN_FORMS.items())
                lines.append(
                    f"| {layout} | {mine[0]['fails']:,} | {name} | {len(mine)} | {cells} |"
                )
    return "\n".join(lines)


def spread(seeds: list[dict[str, Any]], key: str, form: str) -> str:
    """Return mean and standard deviation of a figure, or a dash where there is none."""
    values = np.array([one[key] for one in seeds if one.get(key) is not None], np.float64)
    if not len(values):
        return "-"
    deviation = f" ± {values.std(ddof=1):{form}}" if len(values) > 1 else ""
    return f"{values.mean():{form}}{deviation}"


if __name__ == "__main__":
    main()

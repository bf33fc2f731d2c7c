"""What the embedding is good for: nearest known failures, and a picture beside the DCT features.

python -m benchmarks.detectors.embeddings nearest MODEL --known DATASET ...
    --left-out DATASET ... [--write]
python -m benchmarks.detectors.embeddings picture MODEL DATASET ... [--out FILE] [--write]

``nearest`` looks up, for every clip that surely fails on layouts that were left out, the nearest
known failure: by the embedding, by the pooled features, which the report takes, and by the DCT
features of the rival. Prints how often both fail in the same kind, with the share that chance
gives, how far their margins are apart, and how far two failures are from each other, in distances
of a failure to a clip that passes. ``picture`` draws test clips by t-SNE, embedding and DCT
features side by side.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.detectors.results import PAGE, put
from benchmarks.machine import machine
from pipeline.datasets.store import load_dataset
from pipeline.train.training_set import Patterns, merge_datasets
from stages.contracts import Bytes, Float32s, Int64s
from stages.detector.baselines.dct import DctConfig, DctNetwork
from stages.detector.models import checkpoint
from stages.detector.networks.network import Network
from stages.detector.training.active_learning import choose
from stages.detector.training.loop import embed, likeness, to_pictures
from stages.lithography.measure.margins import find_worst_margin, name_kinds, split_by_margin

EXAMPLES = 32
"""Known failures that a model keeps."""
PASSING = 2000
"""Clips that pass, of each set, that distances are compared with, or that are drawn."""


def main() -> None:
    """Print the table, or draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = parser.add_subparsers(dest="part", required=True)
    nearest = parts.add_parser("nearest")
    nearest.add_argument("model")
    nearest.add_argument("--known", type=Path, nargs="+", required=True)
    nearest.add_argument("--left-out", type=Path, nargs="+", required=True)
    picture = parts.add_parser("picture")
    picture.add_argument("model")
    picture.add_argument("datasets", type=Path, nargs="+")
    picture.add_argument("--out", type=Path, default=PAGE.parent.parent / "img" / "embeddings.png")
    for part in (nearest, picture):
        part.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    model = checkpoint.load(checkpoint.find(asked.model))
    if asked.part == "nearest":
        text = compare(model.detector(), asked.known, asked.left_out)
    else:
        draw(model.detector(), asked.datasets, asked.out)
        text = f"![test clips by t-SNE](../img/{asked.out.name})"
    text = f"{text}\n\n{machine()}"
    print(text)
    if asked.write:
        put(asked.part, text)


def dct_features(rasters: Bytes) -> Float32s:
    """Return the feature tensors of pictures as vectors of unit norm, (n, f)."""
    network = DctNetwork(DctConfig(rasters.shape[1], rasters.shape[2]))
    parts = []
    for at in range(0, len(rasters), 1024):
        tensor = network.tensor(to_pictures(rasters[at : at + 1024])).flatten(1)
        parts.append(torch.nn.functional.normalize(tensor).numpy())
    return np.concatenate(parts)


def describe(network: Network, rasters: Bytes) -> dict[str, Float32s]:
    """Return the vectors of pictures, of unit norm, in each space."""
    return {
        "embedding": embed(network, rasters),
        "pooled features": likeness(network, rasters),
        "DCT features": dct_features(rasters),
    }


@dataclass(frozen=True, slots=True)
class Failures:
    """Distinct pictures that surely fail, with what fails, and some that surely pass."""

    rasters: Bytes
    kind: Int64s
    margin: Float32s
    passing: Bytes


def take_failures(patterns: Patterns) -> Failures:
    """Return what surely fails of patterns with margins."""
    assert patterns.margins is not None, "these datasets have no margins"
    worst = find_worst_margin(patterns.margins)
    fails, passes = split_by_margin(worst)
    some = np.random.default_rng(0).permutation(np.flatnonzero(passes))[:PASSING]
    kind = name_kinds(patterns.margins[fails], patterns.kinds)
    return Failures(patterns.raster[fails], kind, worst[fails], patterns.raster[np.sort(some)])


def compare(network: Network, known: Sequence[Path], left_out: Sequence[Path]) -> str:
    """Return the table of nearest known failures."""
    old = take_failures(merge_datasets([load_dataset(path) for path in known]))
    theirs = describe(network, old.rasters)
    kept = {name: choose(np.full(len(each), 0.5, np.float32), each, 0.5, min(EXAMPLES, len(each)))
            for name, each in theirs.items()}  # fmt: skip
    lines = [
        "| left out | failures | nearest by | same kind, among all known | margins apart "
        f"| same kind, among {EXAMPLES} examples | margins apart | two failures apart |",
        "|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    for path in left_out:
        new = take_failures(merge_datasets([load_dataset(path)]))
        begin = f"| {path.name} | {len(new.kind):,} |"
        mine, passing = describe(network, new.rasters), describe(network, new.passing)
        for name in theirs:
            every = np.arange(len(old.kind))
            cells = [
                *judge_nearest(old, new, theirs[name], mine[name], every),
                *judge_nearest(old, new, theirs[name], mine[name], np.sort(kept[name])),
                f"{spread(mine[name], passing[name]):.2f}",
            ]
            lines.append(f"{begin} {name} | {' | '.join(cells)} |")
        chance = sum((old.kind == kind).mean() * (new.kind == kind).mean() for kind in {*old.kind})
        apart = np.abs(old.margin[:, None] - new.margin[None, :]).mean()
        lines.append(f"{begin} chance | {chance:.1%} | {apart:.3f} | | | |")
    names = ", ".join(path.name for path in known)
    return "\n".join([*lines, f"\nKnown: {len(old.kind):,} failures of {names}."])


def judge_nearest(
    old: Failures, new: Failures, theirs: Float32s, mine: Float32s, among: Int64s
) -> tuple[str, str]:
    """Return how often the nearest is of the same kind, and how far the margins are apart."""
    nearest = among[(mine.astype(np.float64) @ theirs[among].T).argmax(axis=1)]
    same = (old.kind[nearest] == new.kind).mean()
    return f"{same:.1%}", f"{np.abs(old.margin[nearest] - new.margin).mean():.3f}"


def spread(failing: Float32s, passing: Float32s) -> float:
    """Return the mean distance of two failures, in that of a failure to a clip that passes."""
    within, across = (mean_distance(failing, other) for other in (failing, passing))
    return within / across


def mean_distance(one: Float32s, other: Float32s) -> float:
    """Return the mean distance between vectors of unit norm."""
    return float(np.sqrt(np.maximum(2 - 2 * one @ other.T, 0)).mean())


def draw(network: Network, paths: Sequence[Path], out: Path) -> None:
    """Draw test clips by t-SNE, all hotspots and some others, in two spaces side by side."""
    from matplotlib.figure import Figure
    from sklearn.manifold import TSNE

    rasters, labels = [], []
    for path in paths:
        test = load_dataset(path).subset("test", "core")
        passing = np.random.default_rng(0).permutation(np.flatnonzero(~test.label))[:600]
        chosen = np.concatenate([np.flatnonzero(test.label), passing])
        rasters.append(test.raster[test.pattern[chosen]])
        labels.append(test.label[chosen])
    spaces, failing = describe(network, np.concatenate(rasters)), np.concatenate(labels)
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("embedding", "DCT features"), strict=True):
        plane = TSNE(random_state=0, perplexity=min(30, len(failing) // 4)).fit_transform(
            spaces[name]
        )
        for which, colour, title in (
            (~failing, "#9aa5b1", "others"), (failing, "#d1495b", "hotspots")
        ):  # fmt: skip
            axes.scatter(plane[which, 0], plane[which, 1], s=9, color=colour, label=title)
        axes.set(title=name, xticks=[], yticks=[])
        axes.legend()
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()

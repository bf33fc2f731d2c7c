"""How models score in integers, beside float32: speed, recall, false alarms, equal bytes.

python -m benchmarks.detectors.quantised MODEL [--calibrate DATASET] --test DATASET... [--limited]

A model that has no integers is quantised with the pictures of --calibrate first. Counted are, in
each test set and in all of them, the clips that surely fail and those that surely pass. Speed is in
seconds of the processor, one thread, batches of 64, each kind in turn, the best of several.
--limited scores again in processes that may use fewer instructions and compares the bytes; each
compiles.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import machine
from pipeline.datasets.store import Dataset, load_dataset
from pipeline.train.quantise_model import choose_pictures
from pipeline.train.training_set import merge_datasets
from stages.contracts import Bytes
from stages.detector.models import checkpoint
from stages.detector.models.checkpoint import Checkpoint
from stages.detector.quantisation.quantise import quantise
from stages.lithography.measure.margins import split_by_margin
from stages.scores import BATCH, ModelScorer, build_scorer, score_rasters

KINDS = ("float32", "int8")
REPEATS = 15
AVX2 = "+sse4.2,+avx,+avx2,+fma,+bmi2,+popcnt"
LIMITS: dict[str, dict[str, str]] = {
    "all that the processor has": {},
    "AVX-512 without VNNI": {"NUMBA_CPU_NAME": "skylake-avx512", "NUMBA_CPU_FEATURES":
                             f"{AVX2},+avx512f,+avx512bw,+avx512dq,+avx512vl"},
    "AVX2": {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": AVX2,
             "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "SSE2": {"NUMBA_CPU_NAME": "generic", "ATEN_CPU_CAPABILITY": "default",
             "ONEDNN_MAX_CPU_ISA": "SSE41"},
}  # fmt: skip
"""What processes are told to use, by name."""
COMPARED = 1000


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--calibrate", type=Path)
    parser.add_argument("--test", type=Path, nargs="+", required=True)
    parser.add_argument("--limited", action="store_true")
    parser.add_argument("--digest", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = load(asked.model, asked.calibrate)
    if asked.digest:
        print(digest(model, load_dataset(asked.test[0]).raster[:COMPARED]))
        return
    pictures = load_dataset(asked.test[0]).raster[:BATCH]
    print_speeds(model, pictures)
    print_recall(model, asked.test)
    if asked.limited:
        print_limited(model, asked.test[0])
    print(f"\n{machine()}")


def load(name: str, calibrated_with: Path | None) -> Checkpoint:
    """Return a model with integers."""
    model = checkpoint.load(checkpoint.find(name))
    if model.integers is not None or calibrated_with is None:
        return model
    return quantise(model, choose_pictures(merge_datasets([load_dataset(calibrated_with)])))


def print_speeds(model: Checkpoint, pictures: Bytes) -> None:
    """Print clips a second of the prefilter and the detector."""
    scorers = {kind: build_scorer(model, arithmetic=kind) for kind in KINDS}
    print("| network | float32, clips/s | int8, clips/s | ratio |\n|---|--:|--:|--:|")
    for name in ("prefilter", "detector"):
        if name == "prefilter" and model.prefilter is None:
            continue
        best = dict.fromkeys(KINDS, np.inf)
        for _ in range(REPEATS):
            for kind, scorer in scorers.items():
                score = scorer.prefilter_batch if name == "prefilter" else scorer.score_batch
                best[kind] = min(best[kind], time_once(score, pictures))
        rates = [len(pictures) / best[kind] for kind in KINDS]
        print(f"| {name} | {rates[0]:,.0f} | {rates[1]:,.0f} | {rates[1] / rates[0]:.1f} |")


def time_once(score: Callable[[Bytes], object], pictures: Bytes) -> float:
    """Return the seconds of this process that scoring takes."""
    started = time.process_time()
    score(pictures)
    return time.process_time() - started


def print_recall(model: Checkpoint, tests: Sequence[Path]) -> None:
    """Print what is found in each set and in all, without prefilter and with it."""
    heads = (
        "prefilter", "test set", "surely fail", "surely pass", "found in float32", "in int8",
        "false alarms in float32", "in int8", "largest difference of a score",
        "patterns passed in float32", "in int8",
    )  # fmt: skip
    print(f"\n| {' | '.join(heads)} |\n|---|---|" + "--:|" * (len(heads) - 2))
    for prefiltered in (False, True)[: 1 if model.prefilter is None else 2]:
        counts = [count_found(load_dataset(path), model, prefiltered) for path in tests]
        names = [f"{path.parent.name}/{path.name}" for path in tests]
        if len(tests) > 1:
            names.append("all")
            counts.append(tuple(
                max(column) if isinstance(column[0], float) else sum(column)
                for column in zip(*counts, strict=True)
            ))  # fmt: skip
        for name, (*found, difference, patterns, passed, passed_int8) in zip(
            names, counts, strict=True
        ):
            row = [f"{count:,}" for count in found]
            row.append(f"{difference:.3f}")
            row += [f"{count / patterns:.1%}" for count in (passed, passed_int8)]
            print(f"| {'yes' if prefiltered else 'no'} | {name} | {' | '.join(row)} |", flush=True)


def count_found(data: Dataset, model: Checkpoint, prefiltered: bool) -> tuple[float, ...]:
    """Return what is counted in a set: integers but for the largest difference of a score.

    Clips that surely fail and surely pass, how many of the first are found and of the second
    flagged, in float32 and in integers each; the difference; patterns, and those that pass the
    prefilter.
    """
    fails, passes = split_by_margin(data.worst_margin())
    scores = [
        score_rasters(data.raster, build_scorer(model, arithmetic=kind, prefiltered=prefiltered))
        .score for kind in KINDS
    ]  # fmt: skip
    flagged = [each[data.pattern] >= model.threshold for each in scores]
    judged = scores[0] > 0, scores[1] > 0
    apart = np.abs(scores[0] - scores[1])[judged[0] & judged[1]]
    return (
        int(fails.sum()), int(passes.sum()),
        *(int((each & clips).sum()) for clips in (fails, passes) for each in flagged),
        float(apart.max(initial=0.0)), len(data.raster), *(int(each.sum()) for each in judged),
    )  # fmt: skip


def digest(model: Checkpoint, pictures: Bytes) -> str:
    """Return a digest of all that scoring in integers and in float32 gives."""
    return " ".join(digest_of(build_scorer(model, arithmetic=kind), pictures) for kind in KINDS)


def digest_of(scorer: ModelScorer, pictures: Bytes) -> str:
    """Return a digest of scores and embeddings, before and after the prefilter."""
    scorer.reject_below, rejecting = 0.0, scorer.reject_below
    found = score_rasters(pictures, scorer)
    content = found.score.tobytes() + found.embedding.tobytes()
    if rejecting:
        content += scorer.prefilter_batch(pictures[:BATCH]).tobytes()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


def print_limited(model: Checkpoint, test: Path) -> None:
    """Print digests of scores computed with limited instructions."""
    print(
        f"\nDigests of scores and embeddings of {COMPARED:,} pictures.\n\n"
        "| instructions | float32 | int8 |\n|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        checkpoint.save(path, model)
        for name, limits in LIMITS.items():
            command = [
                "-m",
                "benchmarks.detectors.quantised",
                str(path),
                "--test",
                str(test),
                "--digest",
            ]
            answer = subprocess.run(
                [sys.executable, *command], env={**os.environ, **limits}, check=True,
                capture_output=True, text=True,
            )  # fmt: skip
            float32, int8 = answer.stdout.split()
            print(f"| {name} | {float32} | {int8} |", flush=True)


if __name__ == "__main__":
    main()

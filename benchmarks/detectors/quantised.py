"""How models score in integers, beside float32: speed, recall, false alarms, equal bytes.

python -m benchmarks.detectors.quantised MODEL [--calibrate DATASET] --test DATASET...
                                         [--limited] [--emulator qemu-x86_64]

A model that has no integers is quantised with the pictures of --calibrate first. Counted are, in
each test set and in all of them, the clips that surely fail and those that surely pass. Speed is in
seconds of the processor, one thread, batches of 64, each kind in turn, the best of several.
--limited scores again in processes that may use fewer instructions and compares the bytes; each
compiles. --emulator (Debian's qemu-user) runs what was compiled for some of them on older
processors.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.detectors.score_digest import KINDS
from benchmarks.machine import machine
from pipeline.datasets.store import Dataset, load_dataset
from pipeline.train.quantise_model import choose_pictures
from pipeline.train.training_set import merge_datasets
from stages.contracts import Bytes
from stages.detector.models import checkpoint
from stages.detector.models.checkpoint import Checkpoint
from stages.detector.quantisation.quantise import quantise
from stages.lithography.measure.margins import split_by_margin
from stages.scores import BATCH, build_scorer, score_rasters

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
EMULATED = {"Haswell": "AVX2", "Nehalem": "SSE2"}
"""Processors, as the emulator names them, and the instructions whose kernels they run."""
COMPARED = 16 * BATCH


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--calibrate", type=Path)
    parser.add_argument("--test", type=Path, nargs="+", required=True)
    parser.add_argument("--limited", action="store_true")
    parser.add_argument("--emulator", metavar="COMMAND", help="such as qemu-x86_64")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    model = load(asked.model, asked.calibrate)
    pictures = load_dataset(asked.test[0]).raster[:BATCH]
    print_speeds(model, pictures)
    print_recall(model, asked.test)
    if asked.limited:
        print_limited(model, load_dataset(asked.test[0]).raster[:COMPARED], asked.emulator)
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


def print_limited(model: Checkpoint, pictures: Bytes, emulator: str | None) -> None:
    """Print digests of scores computed with limited instructions."""
    print(
        f"\nDigests of scores, embeddings and margins of {len(pictures):,} pictures.\n\n"
        "| instructions | float32 | int8 |\n|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "model.pt"), Path(folder, "pictures.npy")
        checkpoint.save(files[0], model)
        np.save(files[1], pictures)
        for name, limits in LIMITS.items():
            print(f"| {name} | {' | '.join(digest(files, KINDS, limits))} |", flush=True)
        for processor, name in EMULATED.items() if emulator else ():
            (int8,) = digest(files, ("int8",), LIMITS[name], str(emulator), "-cpu", processor)
            print(f"| {name}, an emulated {processor} | - | {int8} |", flush=True)


def digest(
    files: tuple[Path, Path], kinds: tuple[str, ...], limits: dict[str, str], *runner: str
) -> list[str]:
    """Return the digest of each kind, computed in a process that may use so much."""
    command = (sys.executable, "-m", "benchmarks.detectors.score_digest", *map(str, files), *kinds)
    answer = subprocess.run(
        [*runner, *command], env={**os.environ, **limits}, check=True, capture_output=True,
        text=True,
    )  # fmt: skip
    return answer.stdout.split()


if __name__ == "__main__":
    main()

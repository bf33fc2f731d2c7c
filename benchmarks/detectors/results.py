"""The tables of docs/explanation/results.md: detectors on benchmarks, and what each part is worth.

python -m benchmarks.detectors.results [--work DIR] [--only PART] [--measured] [--write]

Every row is trained here, on the training windows alone. What is measured is kept in the work
folder, figure by figure: a stopped run resumes; ``--measured`` leaves out what is not measured yet.
``--write`` puts the tables into docs/explanation/results.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.machine import machine
from pipeline.config import Resources, load_config
from pipeline.datasets.from_defect_list import SPEC as EUV
from pipeline.datasets.from_defect_list import DefectListRequest, import_defects
from pipeline.datasets.from_marker_layers import import_benchmark
from pipeline.datasets.store import load_dataset
from pipeline.evaluate.model import EvaluateRequest, compute_figures, evaluate_model
from pipeline.evaluate.scan import evaluate_scan
from pipeline.scan.request import ScanRequest
from pipeline.scan.scan import scan
from pipeline.train.committee_plan import few_shape
from pipeline.train.model import TrainRequest, train_model
from pipeline.train.network_jobs import Machine
from stages.contracts import RasterSpec
from stages.detector.catalogue import DETECTORS, FitRequest, find_kind, fit
from stages.detector.models import checkpoint
from stages.detector.training.loop import LabelledClips, TrainingConfig, score
from stages.scores import build_scorer, score_rasters

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "results.md"
SPEC = RasterSpec(pixel_nm=30.0, clip_px=88, core_px=40)
DESIGNS = ("4", "5")
WORKERS = 2
SEEDS = (0, 1, 2)
COARSE = RasterSpec(pixel_nm=40.0, clip_px=64, core_px=30)
"""Of the ablation: more than sixty trainings."""
TIMED = 4096
"""Pictures, about, that each detector is timed on."""


@dataclass(frozen=True, slots=True)
class Row:
    """A detector of the table."""

    detector: str
    """One of `DETECTORS`."""
    one_look: bool = False
    """Whether one of several networks judges, in a single pass."""
    distilled: bool = False
    """Whether one network was fit to the scores of the several ones."""

    @property
    def model(self) -> str:
        """What its checkpoints are called."""
        return f"{self.detector}-distilled" if self.distilled else self.detector


ROWS = {
    "attention": Row("attention"),
    "attention, one look": Row("attention", one_look=True),
    "attention, distilled": Row("attention", distilled=True),
    **{name: Row(name) for name in DETECTORS if name != "attention"},
}
ABLATION: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # name: config of the detector, training
    "ours": ({}, {}),
    "without attention": ({"attention": "none"}, {}),
    "squeeze and excitation": ({"attention": "squeeze_excitation"}, {}),
    "scale-space attention": ({"attention": "scale_space"}, {}),
    "the same, before pooling": ({"attention": "scale_space_pooling"}, {}),
    "attention branch": ({"attention": "attention_branch"}, {}),
    "one attention branch": ({"attention": "attention_branch_once"}, {}),
    "feature difference": ({"attention": "feature_difference"}, {}),
    "self-attention": ({"attention": "self_attention"}, {}),
    "without inception": ({"inception": False}, {}),
    "without metric loss": ({}, {"metric": "none"}),
    "plain mean over triplets": ({}, {"metric": "batch_mean"}),
    "all triplets": ({}, {"metric": "batch_all"}),
    "semi-hard triplets": ({}, {"metric": "semi_hard"}),
    "focal loss": ({}, {"prediction": "focal"}),
    "loss that bears wrong labels": ({}, {"prediction": "improved_cross_entropy"}),
    "biased learning, 0.3": ({}, {"bias": 0.3}),
    "no hard negatives": ({}, {"hard": 0.0}),
    "core not pooled separately": ({"core_px": 0}, {}),
    "middle of the core pooled separately": (few_shape(COARSE), {}),
    "rims seen": ({}, {"rim_px": 0}),
}


def main() -> None:
    """Measure what is not measured, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, default=Path("build/results"))
    parser.add_argument("--only", choices=("rows", "looks", "ablation", "regions"))
    parser.add_argument("--measured", action="store_true", help="measure nothing more")
    parser.add_argument("--write", action="store_true")
    asked = parser.parse_args()
    data = Path(os.environ.get("HOTSCAN_DATA", "../shared/data")) / "hotspots"
    asked.work.mkdir(parents=True, exist_ok=True)
    work = Work(data, asked.work, not asked.measured)
    parts: dict[str, Callable[[Work], str]] = {
        "rows": rows, "looks": looks, "ablation": ablation, "regions": regions,
    }  # fmt: skip
    for name in [asked.only] if asked.only else [part for part in parts if part != "looks"]:
        table = parts[name](work)
        print(f"{table}\n")
        if asked.write:
            put(name, f"{table}\n\n{machine()}")


class NotMeasuredError(Exception):
    """A figure is not there, and is not to be measured."""


@dataclass(frozen=True)
class Work:
    """Where figures are kept."""

    data: Path
    folder: Path
    more: bool
    """Whether to measure what is not measured."""

    def kept(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return what was measured before, or measure it."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            if not self.more:
                raise NotMeasuredError(name)
            part = path.with_suffix(".part")
            part.write_text(json.dumps(measure()))
            part.rename(path)
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def design(self, number: str, spec: RasterSpec) -> Path:
        """Return the dataset of a design of ICCAD-2012."""
        out = self.folder / f"iccad2012-{number}-{spec.pixel_nm:g}nm"
        if not out.exists():
            layout = self.data / "iccad2012" / f"iccad12-{number}.OAS"
            import_benchmark("iccad2012", layout, out, spec, process="arfi45")
        return out


def put(name: str, text: str) -> None:
    """Put a table between its marks in the page."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, _, rest = PAGE.read_text().partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}{text}\n{end}{after}")


def rows(work: Work) -> str:
    """Train each detector on each design, ours on both too, and return the table."""
    trainings: list[tuple[str, tuple[str, ...]]] = [
        (name, (number,)) for number in DESIGNS for name in ROWS
    ]
    trainings += [(name, DESIGNS) for name in ROWS if ROWS[name].detector == "attention"]
    return write_rows(work, trainings)


def looks(work: Work) -> str:
    """Return the rows of our detector alone: several networks, single pass, distilled."""
    ours = [name for name in ROWS if ROWS[name].detector == "attention"]
    return write_rows(work, [(name, (number,)) for number in DESIGNS for name in ours])


def write_rows(work: Work, trainings: list[tuple[str, tuple[str, ...]]]) -> str:
    """Train and evaluate, and return the table."""
    sets = {number: work.design(number, SPEC) for number in DESIGNS}
    lines = [
        "| trained on | detector | tested on | core: recall | false alarms | scan: recall | false "
        "alarms | rate | recall, unseen | core at 0.1 % | scan at 0.2 % | PR AUC | detection, s "
        "| ODST, s | training, s |",
        "|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    found: dict[tuple[str, str, str], tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {}
    models: dict[tuple[str, str, str], Path] = {}
    missing: list[str] = []
    for name, numbers in trainings:
        row, on = ROWS[name], "+".join(numbers)
        model = work.folder / f"{row.model}-{on}.pt"
        teacher = str(work.folder / f"{row.detector}-{on}.pt") if row.distilled else None
        try:
            took = work.kept(f"{row.model}-{on}.train", partial(
                trained, row.detector, sets, numbers, model, distil=teacher
            ))  # fmt: skip
            for number in numbers:
                core, wide = (
                    work.kept(f"{name}-{on}.{number}.{protocol}", partial(
                        evaluate_model, EvaluateRequest(
                            model=str(model), datasets=(sets[number],), protocol=protocol,
                            trained_on=tuple(sets[other] for other in numbers),
                            one_look=row.one_look,
                        ),
                    ))
                    for protocol in ("core", "scan")
                )  # fmt: skip
                found[on, name, number], models[on, name, number] = (core, wide, took), model
        except NotMeasuredError:
            missing.append(f"| {on} | {name} | | not measured yet" + " |" * 12)
    seconds = time_detectors(work, sets, models)
    for (on, name, number), (core, wide, took) in found.items():
        cells = _cells(core, wide, took, seconds[f"{on} {name} {number}"])
        lines.append(f"| {on} | {name} | {number} | {cells} |")
    return "\n".join(lines + missing)


def time_detectors(
    work: Work, sets: dict[str, Path], models: dict[tuple[str, str, str], Path]
) -> dict[str, float]:
    """Return how long each takes for the scan of a design, in seconds: all in one run.

    Each judges the same pictures, evenly spaced among all, alone and on one thread; seconds are for
    all of them.
    """
    path = work.folder / "detection.json"
    known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    names = {f"{on} {name} {number}": (name, number) for on, name, number in models}
    if names.keys() <= known.keys():
        return known
    if not work.more:
        return dict.fromkeys(names, float("nan")) | known
    found = {}
    for (title, (name, number)), model in zip(names.items(), models.values(), strict=True):
        test = load_dataset(sets[number]).subset("test", "scan")
        chosen = test.raster[:: max(1, len(test.raster) // TIMED)]
        scorer = build_scorer(checkpoint.load(model), one_look=ROWS[name].one_look)
        score_rasters(chosen[:64], scorer)
        started = time.perf_counter()
        score_rasters(chosen, scorer)
        found[title] = (time.perf_counter() - started) * len(test.raster) / len(chosen)
    path.write_text(json.dumps(found))
    return found


def _cells(
    core: dict[str, Any], wide: dict[str, Any], took: dict[str, Any], detection_s: float
) -> str:
    simulation_s = wide["odst_s"] - wide["detection_s"]
    return " | ".join(
        (
            f"{core['recall']:.2%}", f"{core['false_alarms']:,}", f"{wide['recall']:.2%}",
            f"{wide['false_alarms']:,}", f"{wide['false_alarm_rate']:.2%}",
            f"{wide['recall_unseen']:.2%}", f"{core['recall_at_0.001']:.2%}",
            f"{wide['recall_at_0.002']:.2%}", f"{wide['pr_auc']:.3f}", f"{detection_s:,.1f}",
            f"{simulation_s + detection_s:,.0f}", f"{took['seconds']:.0f}",
        )
    )  # fmt: skip


def trained(
    name: str,
    sets: dict[str, Path],
    numbers: tuple[str, ...],
    model: Path,
    training: dict[str, Any] | None = None,
    distil: str | None = None,
) -> dict[str, Any]:
    """Train a detector, with all defaults where `training` does not say otherwise."""
    started = time.monotonic()
    made = train_model(
        TrainRequest(
            datasets=tuple(sets[number] for number in numbers), out=model, detector=name,
            training=training or {}, distil=distil,
        ),
        Machine(workers=WORKERS),
        lambda text: print(name, text, flush=True),
    )  # fmt: skip
    return {"seconds": time.monotonic() - started, **made}


def ablation(work: Work) -> str:
    """Train one network of each kind, several times, on both designs, and return the table."""
    sets = [work.design(number, COARSE) for number in DESIGNS]
    tasks = [(work, sets, name, seed) for seed in SEEDS for name in ABLATION]
    try:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            found = pool.starmap(ablated, tasks, chunksize=1)
    except NotMeasuredError:
        return "Not measured yet."
    lines = [
        "| one network | PR AUC | recall at 0.2 % false alarms | false alarms at 99 % recall |",
        "|---|--:|--:|--:|",
    ]
    for name in ABLATION:
        mine = [one for (*_, which, _), one in zip(tasks, found, strict=True) if which == name]
        cells = []
        for key, form in (("pr_auc", ".3f"), ("recall_at_0.002", ".2%"), ("needed", ",.0f")):
            values = np.array([one[key] for one in mine])
            cells.append(f"{values.mean():{form}} ± {values.std(ddof=1):{form}}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ablated(work: Work, sets: list[Path], name: str, seed: int) -> dict[str, Any]:
    """Train one network on the windows of both designs, and measure it on the 3x3 scan."""
    return work.kept(f"ablation-{name}-{seed}", lambda: _ablated(sets, name, seed))


def _ablated(paths: list[Path], name: str, seed: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    shape, training = ABLATION[name]
    sets = [load_dataset(path) for path in paths]
    fitted_on = [one.subset("train", "scan") for one in sets]
    clips = LabelledClips(
        np.concatenate([one.raster for one in fitted_on]),
        np.concatenate([one.counts()[0] > 0 for one in fitted_on]),
    )
    config = TrainingConfig(**({"epochs": 2, "batch": 64, "rim_px": 3, "seed": seed} | training))
    request = FitRequest("attention", find_kind("attention").shape(COARSE, **shape), config)
    network = fit(request, clips, None)
    tests = [one.subset("test", "scan") for one in sets]
    scores = np.concatenate([score(network.detector, one.raster)[one.pattern] for one in tests])
    labels = np.concatenate([one.label for one in tests])
    found = compute_figures(scores, labels, None, 0.5)
    return found | {"needed": alarms_at(scores, labels, 0.99)}


def alarms_at(scores: npt.NDArray[np.float32], labels: npt.NDArray[np.bool_], recall: float) -> int:
    """Return the false alarms of the threshold that finds a share of the hotspots."""
    failing = np.sort(scores[labels])[::-1]
    threshold = failing[int(np.ceil(recall * len(failing) - 1e-9)) - 1]
    return int((scores[~labels] >= threshold).sum())


def regions(work: Work) -> str:
    """Train on left halves of ICCAD-2016 N7 EUV, scan right halves, and return the table."""
    folder = work.data / "iccad2016_n7euv"
    sets = {}
    for case in ("2", "3"):
        sets[case] = work.folder / f"iccad2016-{case}"
        if not sets[case].exists():
            import_defects(DefectListRequest(
                layout=folder / f"testcase{case}.oas", defects=folder / f"test{case}.csv",
                out=sets[case], metal=("1000/0",),
            ))  # fmt: skip
    model = work.folder / "iccad2016.pt"
    lines = [
        "| case | defects | found | recall | extras | extras per um2 | area simulated |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    try:
        train = partial(trained, "attention", sets, ("2", "3"), model, {"epochs": 10})
        work.kept("iccad2016.train", train)
        for case in sets:
            layout = folder / f"testcase{case}.oas"
            measure = partial(_scanned, layout, case, sets[case], model, work.folder)
            found = work.kept(f"iccad2016-{case}.scan", measure)
            lines.append(
                f"| {case} | {found['defects']:,} | {found['found']:,} | {found['recall']:.2%} "
                f"| {found['extras']:,} | {found['extras_per_um2']:.3f} "
                f"| {found['simulated_share']:.1%} |"
            )
    except NotMeasuredError:
        return "Not measured yet."
    return "\n".join(lines)


def _scanned(layout: Path, case: str, dataset: Path, model: Path, work: Path) -> dict[str, Any]:
    settings: dict[str, dict[str, Any]] = {
        "layout": {"layers": ["1000/0"]}, "clips": {"stride_nm": EUV.core_nm / 2},
        "scores": {"model": str(model)},
    }  # fmt: skip
    run = work / f"iccad2016-{case}.run"
    request = ScanRequest(layout=layout, out=run, config=load_config(None, settings))
    scan(request, Resources(workers=1), lambda event: None)
    return evaluate_scan(run, dataset)


if __name__ == "__main__":
    main()

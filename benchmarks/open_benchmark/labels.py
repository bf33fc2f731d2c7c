"""The labels of the open benchmark: each region simulated in full after OPC, and compared.

in       regions
out      a dataset and a record of each, and what a rebuilt one has otherwise
promise  a stopped run resumes; a rebuilt region equals the first but for marginal labels
"""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.machine import time_work
from benchmarks.open_benchmark.layouts import compute_digest, draw_region, write_layout
from benchmarks.open_benchmark.regions import Region
from pipeline.config import Resources
from pipeline.datasets.from_simulation import LabelRequest, label_layout
from pipeline.datasets.store import Dataset, load_dataset
from pipeline.engine.events import Listener
from stages.errors import HotscanError
from stages.lithography.measure.margins import MARGINAL, split_by_margin

EXPECTED = Path(__file__).parent / "expected.csv"
"""What each region was when the benchmark was made."""
NUMBERS = ("clips", "hotspots", "surely", "marginal")


@dataclass(frozen=True, slots=True)
class Counts:
    """What a region holds."""

    layout: str
    """Digest of what is drawn."""
    clips: int
    hotspots: int
    surely: int
    """Hotspots whose margin is over `MARGINAL`."""
    marginal: int
    """Clips whose margin is within `MARGINAL` of the limit, either way."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How a rebuilt region differs from another build."""

    pictures: int
    """Clips that show something else."""
    sure: int
    """Labels that differ though one of the two margins is not marginal."""
    marginal: int
    """The other labels that differ."""
    margin: float
    """Largest difference of a clip's worst margin."""


class OtherLayoutError(HotscanError, ValueError):
    """A layout is not the one that the benchmark was made of."""


def label_region(
    region: Region, out: Path, expected: str | None, resources: Resources, listen: Listener
) -> None:
    """Draw and label a region unless that is done.

    Parameters
    ----------
    out
        The benchmark's folder; a region has a layout, a dataset and a record in it.
    expected
        Digest of the layout that the benchmark was made of, where it is known.

    Raises
    ------
    OtherLayoutError
        When the layout is another one.
    """
    dataset, layout, record = (out / f"{region.name}{end}" for end in ("", ".gds", ".json"))
    if record.exists():
        return
    rects = draw_region(region, out / "downloads")
    digest = compute_digest(rects)
    if expected not in (None, digest):
        raise OtherLayoutError(
            f"the layout of {region.name} has the digest {digest} but the benchmark was made of "
            f"{expected}; remove {out / 'downloads'}, or set HOTSCAN_DATA to the folder of the data"
        )
    if not layout.exists():
        write_layout(layout, region, rects)

    def label() -> None:
        if not dataset.exists():
            label_layout(LabelRequest(
                layout=layout, out=dataset, process=region.process, layers=(str(region.layer),),
                opc="model", spec=region.spec,
            ), resources, listen)  # fmt: skip

    _, spent = time_work(label)
    counts = asdict(count_clips(load_dataset(dataset), digest))
    part = record.with_suffix(".part")
    part.write_text(json.dumps({"counts": counts, "spent": asdict(spent)}))
    part.rename(record)


def count_clips(dataset: Dataset, layout: str) -> Counts:
    """Return what a dataset holds."""
    surely, passes = split_by_margin(dataset.worst_margin())
    return Counts(
        layout, len(dataset), int(dataset.label.sum()), int(surely.sum()),
        int((~surely & ~passes).sum()),
    )  # fmt: skip


def read_record(out: Path, region: Region) -> tuple[Counts, float] | None:
    """Return what a region holds and the seconds of a processor it took; None before it is done."""
    path = out / f"{region.name}.json"
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    return Counts(**record["counts"]), record["spent"]["processor_s"]


def read_expected() -> dict[str, Counts]:
    """Return what each region held when the benchmark was made, by name, where it was labelled."""
    return {
        name: Counts(row["layout"], *(int(row[number]) for number in NUMBERS))
        for name, row in _read_rows().items()
        if row["clips"]
    }


def read_digests() -> dict[str, str]:
    """Return the digest of each layout that the benchmark was made of, by name of the region."""
    return {name: row["layout"] for name, row in _read_rows().items()}


def _read_rows() -> dict[str, dict[str, str]]:
    with EXPECTED.open(newline="") as file:
        return {row["region"]: row for row in csv.DictReader(file)}


def write_expected(out: Path, regions: Sequence[Region]) -> None:
    """Write down the layouts of some regions, and what those hold that are labelled."""
    rows = _read_rows()
    for region in regions:
        if found := read_record(out, region):
            numbers = asdict(found[0])
        else:
            rects = draw_region(region, out / "downloads")
            numbers = {"layout": compute_digest(rects), **dict.fromkeys(NUMBERS, "")}
        rows[region.name] = {"region": region.name, **numbers}
    with EXPECTED.open("w", newline="") as file:
        table = csv.DictWriter(file, ["region", "layout", *NUMBERS], lineterminator="\n")
        table.writeheader()
        table.writerows(rows[name] for name in sorted(rows))


def compare(one: Dataset, other: Dataset) -> Difference:
    """Return how two builds of a region differ, clip by clip; they have as many clips."""
    pictures = (one.key[one.pattern] != other.key[other.pattern]).any(axis=1)
    margins = one.worst_margin(), other.worst_margin()
    differs = one.label != other.label
    sure = differs & (np.maximum(*np.abs(margins)) > MARGINAL)
    return Difference(
        int(pictures.sum()), int(sure.sum()), int((differs & ~sure).sum()),
        float(np.abs(margins[0] - margins[1]).max(initial=0)),
    )  # fmt: skip

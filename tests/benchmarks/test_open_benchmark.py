"""The open benchmark: tiny sets from end to end, and what a rebuilt region may have otherwise."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.open_benchmark import __main__ as open_benchmark
from benchmarks.open_benchmark import detectors, labels, layouts
from benchmarks.open_benchmark.regions import SETS, Metal, Region, Vias, list_regions
from pipeline.config import Resources
from pipeline.datasets.store import Dataset, load_dataset
from tests.benchmarks.conftest import Benchmark
from tests.support.small_scan import DENSE

SMALL = {region.name: region for region in list_regions(small=True)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a benchmark of which one tiny region of vias is labelled."""
    out = tmp_path_factory.mktemp("open")
    labels.label_region(SMALL["via2/test-00"], out, None, Resources(workers=0), lambda event: None)
    return out


def test_no_layout_is_both_trained_and_tested_on() -> None:
    regions = list_regions()
    assert len({region.name for region in regions}) == len(regions)
    assert {region.set for region in regions} == set(SETS)
    sources = {
        split: {region.source for region in regions if region.split == split}
        for split in ("train", "test")
    }
    assert not sources["train"] & sources["test"]
    metal = {
        split: {source.file for source in sources[split] if isinstance(source, Metal)}
        for split in sources
    }
    assert not metal["train"] & metal["test"]
    assert set(labels.read_digests()) <= {region.name for region in regions}


def test_a_region_is_built_again_the_same(benchmark: Benchmark, built: Path) -> None:
    asked = ("--small", "--out", built, "--workers", 0)
    printed = benchmark(open_benchmark, *asked, "--check", "via2/test-00")
    assert "Difference(pictures=0, sure=0, marginal=0, margin=0.0)" in printed
    assert "the same but for marginal labels" in printed
    # A label that surely fails now passes.
    with pytest.MonkeyPatch.context() as patch:
        other = broken(load_dataset(built / "via2/test-00"), margin=0.5)
        first = built / "check/via2/test-00"
        patch.setattr(
            open_benchmark, "load_dataset", lambda path: other if path != first else ORIGINAL(path)
        )
        with pytest.raises(SystemExit, match="1"):
            benchmark(open_benchmark, *asked, "--check", "via2/test-00")


ORIGINAL = load_dataset


def test_what_is_labelled_stays(
    benchmark: Benchmark, built: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A second run draws and simulates nothing that is there, and begins nothing after its time."""
    monkeypatch.setattr(labels, "draw_region", None)  # nothing may be drawn
    monkeypatch.setattr(labels, "EXPECTED", tmp_path / "expected.csv")
    (tmp_path / "expected.csv").write_text(
        "region,layout,clips,hotspots,surely,marginal\nolder,0,,,,\n"
    )
    asked = ("--out", built, "--set", "via2", "--seconds", 0, "--write")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_benchmark, "list_regions", lambda small: [SMALL["via2/test-00"]])
        rows = benchmark(open_benchmark, *asked).splitlines()
    counts = labels.count_clips(load_dataset(built / "via2/test-00"), "")
    start = f"| via2 | test | 1 | {counts.clips:,} | {counts.hotspots:,} (short) | "
    assert any(row.startswith(start) for row in rows)
    assert labels.read_digests()["older"] == "0"
    (written,) = labels.read_expected().values()
    assert replace(written, layout="") == counts
    assert written.layout == layouts.compute_digest(
        layouts.draw_region(SMALL["via2/test-00"], tmp_path)
    )


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(labels.OtherLayoutError, match=r"via2/test-00 has the digest .* made of 00"):
        labels.label_region(
            SMALL["via2/test-00"], tmp_path, "00", Resources(workers=0), lambda event: None
        )


def broken(dataset: Dataset, margin: float) -> Dataset:
    """Return a dataset whose first clip has another verdict, by as much."""
    assert dataset.margin is not None
    margins, label = dataset.margin.copy(), dataset.label.copy()
    label[0] = not label[0]
    margins[0] = margin if label[0] else -margin
    return replace(dataset, margin=margins, label=label)


@pytest.mark.parametrize(("margin", "sure"), [(0.02, 0), (0.04, 1)])
def test_marginal_labels_may_differ(built: Path, margin: float, sure: int) -> None:
    dataset = load_dataset(built / "via2/test-00")
    assert dataset.margin is not None
    near = dataset.margin.copy()
    near[0] = 0.01 if dataset.label[0] else -0.01
    found = labels.compare(replace(dataset, margin=near), broken(dataset, margin))
    assert (found.pictures, found.sure, found.marginal) == (0, sure, 1 - sure)
    assert found.margin == pytest.approx(margin + 0.01)


def test_metal_is_shrunk_where_it_lies(tmp_path: Path) -> None:
    rects = layouts.draw_region(SMALL["metal/train-00"], tmp_path)
    widths = (rects[:, 2:] - rects[:, :2]).min(axis=1)
    values, counts = np.unique(widths, return_counts=True)
    assert values[counts.argmax()] == 89  # 140 nm become 44.5 nm
    assert rects.min() == 0
    assert rects.max() == 14_000 / 140 * 89


def test_a_layout_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOTSCAN_DATA", str(tmp_path / "none"))
    source = Metal("layouts/dense.gds.gz", DENSE.as_uri())
    fetched = layouts.find_layout(source, tmp_path / "downloads")
    assert fetched.read_bytes() == DENSE.read_bytes()
    source = replace(source, address=(tmp_path / "none" / DENSE.name).as_uri())
    assert layouts.find_layout(source, tmp_path / "downloads") == fetched
    monkeypatch.setenv("HOTSCAN_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "layouts").mkdir(parents=True)
    (tmp_path / "data" / source.file).touch()
    assert layouts.find_layout(source, tmp_path / "downloads").parent.parent == tmp_path / "data"


def test_vias_are_drawn_by_their_seed(tmp_path: Path) -> None:
    def draw(seed: int) -> str:
        region = Region("via1", "test", 0, Vias("via1", seed, 9.6))
        return layouts.compute_digest(layouts.draw_region(region, tmp_path))

    assert draw(1) == draw(1) != draw(2)


def test_detectors_are_trained_tested_and_set_on_different_regions(tmp_path: Path) -> None:
    regions = [region for region in list_regions() if region.set != "metal"]
    for region in regions:
        record = tmp_path / f"{region.name}.json"
        record.parent.mkdir(exist_ok=True)
        record.write_text(
            json.dumps(
                {"counts": asdict(labels.Counts("", 9, 1, 1, 0)), "spent": {"processor_s": 1.0}}
            )
        )
    sets = detectors.find_sets(tmp_path)
    named = [str(path.relative_to(tmp_path)) for part in sets.values() for path in part]
    assert sorted(named) == sorted(region.name for region in regions)
    assert {path.name for path in sets["validation"]} == {"train-04"}
    assert {path.name.partition("-")[0] for path in sets["test"]} == {"test"}
    assert len(sets["train"]) == 16


def test_the_table_of_detectors_says_how_far_seeds_differ() -> None:
    seeds: list[dict[str, Any]] = [{"recall": 0.98, "pr_auc": 0.5}, {"recall": 0.96}]
    *_, two, none = detectors.write_table({"ours": seeds, "exact": []}).splitlines()
    assert two.startswith("| ours | 2 | 97.00% ± 1.41% | - |")
    assert "| 0.500 |" in two
    assert none == "| exact | 0 |" + " - |" * len(detectors.COLUMNS)

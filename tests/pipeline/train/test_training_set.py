"""Margins in training data: those of a picture, whatever datasets it is in."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pipeline.datasets.store import Dataset
from pipeline.train.training_set import merge_datasets
from stages.contracts import RasterSpec

SPEC = RasterSpec(40.0, 8, 4)
KINDS = ("pinch", "space")


Margins = list[tuple[float, float]]


def dataset(keys: list[int], pattern: list[int], margin: Margins | None) -> Dataset:
    key = np.repeat(np.array(keys, np.uint8)[:, None], 16, axis=1)
    known = None if margin is None else np.array(margin, np.float32)
    label = np.array([max(each) > 0 for each in margin or [(1, 0)] * len(pattern)])
    raster = np.repeat(np.array(keys, np.uint8), 64).reshape(-1, 1, 8, 8)
    return Dataset(
        raster, key, np.array(pattern), label, SPEC, "krf130", ("68/20",), {}, margin=known,
        kinds=() if margin is None else KINDS,
    )  # fmt: skip


def test_a_picture_has_the_mean_margins_of_its_clips() -> None:
    one = dataset([5, 3], [0, 1, 0], [(0.1, -1), (-0.5, -0.4), (0.3, -1)])
    other = dataset([9, 3], [0, 1], [(-0.02, -0.01), (-0.3, -0.2)])
    patterns = merge_datasets([one, other])
    assert patterns.raster[:, 0, 0, 0].tolist() == [3, 5, 9]
    assert patterns.margins is not None
    np.testing.assert_allclose(
        patterns.margins, [[-0.4, -0.3], [0.2, -1], [-0.02, -0.01]], atol=1e-6
    )
    assert patterns.kinds == KINDS
    assert patterns.find_sure().tolist() == [True, True, False]
    chosen = patterns.select(np.array([False, True, True]))
    assert chosen.margins is not None
    np.testing.assert_array_equal(chosen.margins, patterns.margins[1:])
    np.testing.assert_array_equal(chosen.to_clips().margins, chosen.margins)


def test_a_kind_that_a_dataset_does_not_know_was_not_measured_there() -> None:
    one, other = dataset([5], [0], [(0.1, -0.2)]), dataset([3], [0], [(-0.3, -0.4)])
    patterns = merge_datasets([one, replace(other, kinds=("area", "pinch"))])
    assert patterns.kinds == ("pinch", "space", "area")
    assert patterns.margins is not None
    np.testing.assert_allclose(patterns.margins, [[-0.4, -1, -0.3], [0.1, -0.2, -1]])


def test_beside_a_dataset_without_margins_labels_alone_are_learnt() -> None:
    with_margins, without = dataset([5], [0], [(0.1, -1)]), dataset([3], [0], None)
    patterns = merge_datasets([with_margins, without])
    assert patterns.margins is None
    assert patterns.kinds == ()
    assert patterns.find_sure().all()

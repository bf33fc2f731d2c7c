"""Nearest known failures, and the picture of two spaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.detectors import embeddings
from pipeline.train.training_set import Patterns
from stages.contracts import RasterSpec
from stages.detector.models import checkpoint
from stages.detector.networks.detector import Detector
from stages.detector.training.thresholds import OperatingPoint
from tests.benchmarks.conftest import COARSE, Benchmark
from tests.support.detectors import SMALL, two_bars
from tests.support.tables import read_number, read_table


def save_model(path: Path, spec: RasterSpec) -> Path:
    """Write a small network with random weights as a model."""
    torch.manual_seed(0)
    weights, point = Detector(SMALL).get_arrays(), OperatingPoint(0.5, 0.9, 1, 0.1, 10, 20)
    checkpoint.save(
        path, checkpoint.Checkpoint(weights, SMALL, spec, ("met1",), "krf130", point, {})
    )
    return path


def failures(seed: int) -> Patterns:
    """Pictures of which those with a narrow gap bridge, and the others do or do not pinch."""
    clips = two_bars(60, seed, hot_share=0.5)
    margins = np.full((60, 2), -0.5, np.float32)
    margins[clips.labels, 0] = 0.3
    margins[~clips.labels & (np.arange(60) % 2 == 0), 1] = 0.1
    counts = np.ones(60, np.int64)
    return Patterns(clips.rasters, (margins.max(1) > 0).astype(np.int64), counts, margins,
                    ("bridge", "pinch"))  # fmt: skip


def test_what_is_known_is_nearest_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    same = failures(1)
    monkeypatch.setattr(embeddings, "load_dataset", lambda path: path)
    monkeypatch.setattr(embeddings, "merge_datasets", lambda paths: same)
    network = Detector(SMALL).eval()
    rows = read_table(embeddings.compare(network, [Path("a")], [Path("b")]))
    found = {row[2]: row[3:] for row in rows[1:]}
    assert list(found) == ["embedding", "pooled features", "DCT features", "chance"]
    assert found["DCT features"][:2] == ["100.0%", "0.000"]
    for name in ("embedding", "pooled features"):  # vectors of random weights nearly coincide
        assert read_number(found[name][0]) > 0.8 > read_number(found["chance"][0])
        assert read_number(found[name][4]) > 0
    taken = embeddings.take_failures(same)
    shares = np.bincount(taken.kind) / len(taken.kind)
    assert read_number(found["chance"][0]) == pytest.approx((shares**2).sum(), abs=6e-4)


def test_vectors_are_of_unit_norm_and_distances_between_them() -> None:
    for vectors in embeddings.describe(Detector(SMALL).eval(), failures(0).raster).values():
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    axes = np.eye(2, dtype=np.float32)
    assert embeddings.mean_distance(axes, axes) == pytest.approx(2**0.5 / 2)
    assert embeddings.spread(axes[:1], axes[1:]) == 0


def test_two_spaces_are_drawn_side_by_side(
    benchmark: Benchmark, marked: Path, tmp_path: Path
) -> None:
    pytest.importorskip("sklearn")
    model, out = save_model(tmp_path / "m.pt", COARSE), tmp_path / "picture.png"
    printed = benchmark(embeddings, "picture", model, marked, marked, "--out", out)
    assert "picture.png" in printed
    assert out.read_bytes().startswith(b"\x89PNG")

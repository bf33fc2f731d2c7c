"""The soft targets of a prefilter, and where it cuts: what its promise says."""

from __future__ import annotations

import numpy as np
import torch

from pipeline.train.prefilter_fit import PREFILTER_LOSS, fit_prefilter
from pipeline.train.training_set import Patterns
from stages.detector.networks.network import Network, Prediction
from stages.detector.networks.shapes import PrefilterConfig
from stages.detector.training.loop import LabelledClips, score

THRESHOLD = 0.2


def judged(seed: int, count: int) -> tuple[Patterns, np.ndarray]:
    """Pictures of noise, darker ones with higher scores; most that are flagged are hotspots."""
    rng = np.random.default_rng(seed)
    scores = rng.random(count).astype(np.float32) ** 4
    raster = (rng.random((count, 1, 64, 64)) * 255 * scores[:, None, None, None]).astype(np.uint8)
    hot = ((scores > THRESHOLD) & (rng.random(count) < 0.9)).astype(np.int64) * 3
    return Patterns(raster, hot, np.full(count, 4)), scores


class Brightness(Network):
    """A prefilter that scores by how bright a picture is."""

    config = PrefilterConfig()

    def __init__(self) -> None:
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor(20.0))

    def forward(self, x: torch.Tensor) -> Prediction:
        return Prediction(self.gain * x.mean((1, 2, 3)) - 4, torch.ones(len(x), 1))


class Teacher:
    """Stands for a training: keeps what is to be learnt, and returns a prefilter."""

    def __init__(self) -> None:
        self.clips: LabelledClips | None = None
        self.network = Brightness()

    def __call__(self, clips: LabelledClips) -> Network:
        self.clips = clips
        return self.network.eval()


def test_soft_targets_say_how_far_a_pattern_is_from_the_threshold() -> None:
    teacher, (patterns, scores) = Teacher(), judged(1, 500)
    fit_prefilter(teacher, (patterns, scores), judged(2, 300), THRESHOLD)
    assert teacher.clips is not None
    targets = teacher.clips.soft_targets
    assert targets is not None
    assert (np.diff(targets[np.argsort(scores)]) >= 0).all()
    assert ((targets >= 0.5) == (scores >= THRESHOLD)).all()
    assert np.array_equal(teacher.clips.labels, scores >= THRESHOLD / 2)


def test_no_more_hotspots_are_sent_away_than_promised() -> None:
    training, validation = judged(3, 4000), judged(4, 3000)
    teacher = Teacher()
    found = fit_prefilter(teacher, training, validation, THRESHOLD)
    assert found is not None
    for patterns, scores in (training, validation):
        first = score(teacher.network, patterns.raster)
        away = (first < found.reject_below) & (scores >= THRESHOLD)
        assert patterns.hotspots[away].sum() <= PREFILTER_LOSS * patterns.hotspots.sum()
    assert (validation[1] >= THRESHOLD).mean() < found.passed < 0.5  # a third is over it


def test_there_is_no_prefilter_where_nothing_is_flagged() -> None:
    patterns, scores = judged(5, 200)
    cold = np.zeros_like(scores)
    assert fit_prefilter(Teacher(), (patterns, cold), (patterns, cold), THRESHOLD) is None
    hot = np.ones_like(scores)
    assert fit_prefilter(Teacher(), (patterns, hot), (patterns, hot), THRESHOLD) is None

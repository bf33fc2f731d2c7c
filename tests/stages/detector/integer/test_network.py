from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.contracts import RasterSpec
from stages.detector.integer import kernels
from stages.detector.integer.network import IntegerNetwork
from stages.detector.networks.detector import Detector
from stages.detector.networks.prefilter_network import PrefilterNetwork
from stages.detector.networks.shapes import DetectorConfig, PrefilterConfig
from stages.detector.quantisation.quantise import quantise_network

SMALL = DetectorConfig(stem=8, fine=(16,), coarse=(24, 8), embedding=5)


def draw_pictures(n, layers=1, side=32, seed=0):
    ink = np.random.default_rng(seed).integers(0, 256, (n, layers, side // 8, side // 8))
    return np.kron(ink, np.ones((8, 8))).astype(np.uint8)


def make_network(config, seed=0, side=32):
    """Make a network whose batch norms fit its features, so that its predictions vary."""
    torch.manual_seed(seed)
    make = PrefilterNetwork if isinstance(config, PrefilterConfig) else Detector
    network = make(config)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the plain average
            torch.nn.init.normal_(module.bias, 0.1, 0.2)
    pictures = draw_pictures(40, config.layers, side, seed=9)
    with torch.no_grad():
        network(torch.from_numpy(pictures).float() / 255)
    return network.eval()


@pytest.mark.parametrize(
    ("config", "side"),
    [
        (SMALL, 32),
        (replace(SMALL, core_px=16, centres_px=(8,), kinds=("pinch", "space")), 40),
        (replace(SMALL, attention="none", layers=2), 32),
        (replace(SMALL, fine=(16, 8), coarse=(64,), stem=10), 24),
        (PrefilterConfig(width=10, core_px=16), 32),
        (PrefilterConfig(width=8, layers=2), 48),
    ],
)
def test_it_predicts_what_the_network_predicts_but_for_rounding(config, side):
    network = make_network(config, side=side)
    pictures = draw_pictures(70, config.layers, side)
    raster = RasterSpec(40.0, side, side // 2, config.layers)
    found = IntegerNetwork(config, raster, quantise_network(network, pictures))(pictures)
    with torch.inference_mode():
        expected = network(torch.from_numpy(pictures).float() / 255)
    columns = [expected.logit[:, None]]
    if isinstance(network, Detector):
        direction = torch.from_numpy(found[:, 1 : 1 + config.embedding])
        likeness = (torch.nn.functional.normalize(direction) * expected.embedding).sum(1)
        assert likeness.median() > 0.97
        if config.kinds:
            columns.append(expected.margin)
    for column, numbers in zip(
        (found[:, :1], found[:, 1 + getattr(config, "embedding", 0) :]), columns, strict=False
    ):
        spread = numbers.std(0).numpy()
        assert np.all(np.abs(column - numbers.numpy()).mean(0) < 0.15 * spread)


def test_the_numbers_of_a_picture_do_not_depend_on_the_others():
    pictures = draw_pictures(100)
    network = make_network(SMALL)
    integer = IntegerNetwork(SMALL, RasterSpec(40.0, 32, 16), quantise_network(network, pictures))
    together = integer(pictures)
    assert np.array_equal(integer(pictures[37:41]), together[37:41])
    assert np.array_equal(integer(pictures[::-1])[::-1], together)


def test_a_picture_beyond_what_it_was_calibrated_with_is_cut_to_the_largest_byte():
    pale = draw_pictures(20) // 8
    network = make_network(SMALL)
    integer = IntegerNetwork(SMALL, RasterSpec(40.0, 32, 16), quantise_network(network, pale))
    assert np.isfinite(integer(np.full((1, 1, 32, 32), 255, np.uint8))).all()


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("fine.0.three.weight", lambda w: w[:, 1:], "fine.0.three.weight is .* but its settings"),
        ("stem.scale", lambda w: w.astype(np.float64), "stem.scale is .*float64"),
        ("fine.0.attention.side", lambda w: w * 0 + 4, "side is 4; it is odd"),
    ],
)
def test_weights_of_another_shape_are_refused(name, change, words):
    tensors = quantise_network(make_network(SMALL), draw_pictures(4))
    with pytest.raises(ValueError, match=words):
        IntegerNetwork(SMALL, RasterSpec(40.0, 32, 16), tensors | {name: change(tensors[name])})


def test_weights_that_no_layer_has_are_refused():
    tensors = quantise_network(make_network(SMALL), draw_pictures(4))
    with pytest.raises(ValueError, match="weight other is none"):
        IntegerNetwork(SMALL, RasterSpec(40.0, 32, 16), tensors | {"other": tensors["stem.scale"]})


def test_the_logistic_function_is_right_to_a_hundred_thousandth():
    x = np.linspace(-15, 15, 4001, dtype=np.float32)
    found = np.empty_like(x)
    kernels.fill_sigmoid(x, found)
    expected = 1 / (1 + np.exp(-x.astype(np.float64)))
    assert np.abs(found / expected - 1).max() < 1e-5

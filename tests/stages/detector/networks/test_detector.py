import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.detector.networks.attention import NAMES, SelfAttention
from stages.detector.networks.detector import (
    DISTINCT,
    Detector,
    distance_from_centre,
    largest_around,
)
from stages.detector.networks.network import Convolution
from stages.detector.networks.shapes import DetectorConfig
from stages.errors import ConfigError


def blocks(n: int, layers: int, height: int, width: int) -> Tensor:
    """Grey blocks of 8 x 8 pixels, more of them in some pictures than in others."""
    ink = torch.rand(n, layers, height // 8, width // 8) * torch.rand(n, 1, 1, 1)
    return ink.repeat_interleave(8, 2).repeat_interleave(8, 3)


def used_detector(layers: int = 1, **chosen: object) -> Detector:
    """A detector whose batch norms hold statistics, as after training."""
    torch.manual_seed(0)
    detector = Detector(DetectorConfig(layers=layers, **chosen))
    with torch.no_grad():
        for _ in range(3):
            detector(blocks(16, layers, 64, 64))
        detector.verdict.weight.mul_(1000)
    return detector.eval()


@pytest.mark.parametrize(
    ("layers", "height", "width"),
    [(1, 64, 64), (3, 64, 64), (1, 128, 128), (2, 32, 48)],
)
def test_one_network_takes_clips_of_any_size(layers, height, width):
    detector = used_detector(layers)
    logit, embedding, margin, more = detector(blocks(5, layers, height, width))
    assert logit.shape == (5,)
    assert embedding.shape == (5, detector.config.embedding)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(5))
    assert logit.std() > 1e-3
    assert margin is None
    assert more == ()


@pytest.mark.parametrize(
    ("size", "chosen"),
    [
        (64, {}),
        (128, {}),
        (64, {"inception": False}),
        *((64, {"attention": name}) for name in NAMES if name != "channel_spatial"),
    ],
)
def test_folded_network_gives_the_same_answers(size, chosen):
    detector = used_detector(**chosen)
    folded = detector.for_inference()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in detector.modules())
    x = blocks(8, 1, size, size)
    with torch.inference_mode():
        logit, embedding, *_ = detector(x)
        folded_logit, folded_embedding, *_ = folded(x)
    assert logit.std() > 0.01
    torch.testing.assert_close(folded_logit.sigmoid(), logit.sigmoid(), atol=1e-5, rtol=0)
    torch.testing.assert_close(folded_embedding, embedding, atol=1e-5, rtol=0)


@pytest.mark.parametrize("inception", [True, False])
@pytest.mark.parametrize("attention", NAMES)
def test_every_weight_learns(attention, inception):
    torch.manual_seed(0)
    detector = Detector(DetectorConfig(attention=attention, inception=inception))
    for module in detector.modules():
        if isinstance(module, SelfAttention):
            module.share.data += 0.5
    logit, embedding, *_ = detector(blocks(4, 1, 64, 64))
    (logit.square().sum() + (embedding * torch.rand_like(embedding)).sum()).backward()
    still = [name for name, p in detector.named_parameters() if not p.grad.abs().sum() > 0]
    assert still == []


def test_default_network_is_small_enough_to_ship():
    parameters = sum(p.numel() for p in Detector(DetectorConfig()).parameters())
    assert 40_000 < parameters < 150_000


def test_width_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="60 channels; take a multiple of 8"):
        Detector(DetectorConfig(coarse=(60,)))


def test_unknown_attention_is_refused():
    with pytest.raises(ConfigError, match=r"attention 'spatial' is unknown.*channel_spatial, none"):
        Detector(DetectorConfig(attention="spatial"))


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"core_px": 20},
        {"core_px": 20, "centres_px": (10, 8)},
        {"inception": False, "attention": "attention_branch"},
    ],
)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (32, 48)])
def test_what_each_place_adds_comes_to_the_verdict(chosen, height, width):
    detector = used_detector(**chosen)
    x = blocks(5, 1, height, width)
    with torch.inference_mode():
        adds, logit = detector.activation_map(x), detector(x).logit
    assert adds.shape == (5, height // 8, width // 8)
    assert logit.std() > 1e-3
    torch.testing.assert_close(adds.sum((1, 2)) + detector.verdict.bias, logit)


def test_maxima_add_at_their_place_and_averages_everywhere():
    detector = used_detector()
    x = blocks(3, 1, 64, 64)
    with torch.no_grad():
        features, adds = detector.features(x), detector.activation_map(x)
        average, maximum = detector.verdict.weight.view(2, -1).tolist()
    n, channels, height, width = features.shape
    expected = torch.zeros(n, height, width)
    for i in range(n):
        for c in range(channels):
            plane = features[i, c]
            expected[i] += plane * average[c] / plane.numel()
            row, column = divmod(int(plane.argmax()), width)
            expected[i, row, column] += plane.max() * maximum[c]
    torch.testing.assert_close(adds, expected)


@pytest.mark.parametrize(
    ("chosen", "first"), [({"core_px": 32}, 2), ({"core_px": 32, "centres_px": (16,)}, 3)]
)
def test_what_is_pooled_of_a_square_comes_from_the_square(chosen, first):
    detector = used_detector(**chosen)
    channels = detector.config.coarse[-1]
    with torch.no_grad():
        detector.verdict.weight[:, : -2 * channels] = 0  # what is pooled of all around it
        adds = detector.activation_map(blocks(3, 1, 64, 64))
    inner = torch.zeros_like(adds, dtype=torch.bool)
    inner[:, first:-first, first:-first] = True
    assert adds[inner].abs().min() > 0
    assert adds[~inner].abs().max() == 0


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (8, 4)])
def test_convolution_keeps_the_grid(kernel, stride):
    features = Convolution(1, 2, kernel, stride)(torch.rand(3, 1, 64, 32))
    assert features.shape == (3, 2, 64 // stride, 32 // stride)


def test_distance_from_centre_is_symmetric_and_scales_with_the_clip():
    fine = distance_from_centre(torch.zeros(1, 1, 16, 16))
    assert torch.equal(fine, fine.flip(2)) and torch.equal(fine, fine.flip(3))  # noqa: PT018
    assert torch.equal(fine[:, 0], fine[:, 1].transpose(1, 2))
    assert fine[0, 0, 0].tolist() == [abs(2 * i + 1 - 16) / 16 for i in range(16)]
    coarse = distance_from_centre(torch.zeros(1, 1, 8, 8))
    torch.testing.assert_close(nn.functional.avg_pool2d(fine, 2), coarse)


@pytest.mark.parametrize("size", [(16, 16), (1, 5), (2, 3)])
def test_the_largest_around_is_that_of_the_pool(size):
    x = torch.randn(2, 5, *size).contiguous(memory_format=torch.channels_last)
    assert torch.equal(largest_around(x), F.max_pool2d(x, 3, 1, 1))


def test_resemblance_by_its_formula_in_the_closest_orientation():
    """The weight of a channel is one over how far its mean is from that of the known clip."""
    detector = used_detector()
    x = blocks(3, 1, 64, 64)
    known = torch.stack([x[2].transpose(1, 2), x[0].flip(1), blocks(1, 1, 64, 64)[0]])
    with torch.inference_mode():
        found = detector.resemblance_map(x, known)
        features = detector.features(x)
        for n in range(3):
            means = []
            for picture in (known[n], known[n].transpose(1, 2)):
                for axes in ((), (1,), (2,), (1, 2)):
                    turned = detector.features(picture.flip(axes)[None])[0]
                    means.append(turned.mean((1, 2)))
            apart = [(mean - features[n].mean((1, 2))).abs() for mean in means]
            nearest = min(apart, key=lambda each: float(each.square().sum()))
            weight = 1 / (nearest + DISTINCT * features[n].mean())
            expected = (features[n] * (weight / weight.sum())[:, None, None]).sum(0)
            torch.testing.assert_close(found[n], expected, atol=1e-6, rtol=1e-3)
    assert found.shape == (3, 8, 8)
    assert (found >= 0).all()


def test_a_clip_is_like_itself_in_all_channels_alike():
    detector = used_detector()
    x = blocks(2, 1, 64, 64)
    with torch.inference_mode():
        found = detector.resemblance_map(x, x.flip(2))
        torch.testing.assert_close(found, detector.features(x).mean(1), atol=1e-6, rtol=0.01)

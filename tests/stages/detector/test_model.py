import pytest
import torch
from torch import Tensor, nn

from stages.detector.attention import ChannelAttention, SpatialAttention
from stages.detector.model import Convolution, Detector, DetectorConfig, distance_from_centre
from stages.errors import ConfigError


def blocks(n: int, layers: int, height: int, width: int) -> Tensor:
    """Grey blocks of 8 x 8 pixels, more of them in some pictures than in others."""
    ink = torch.rand(n, layers, height // 8, width // 8) * torch.rand(n, 1, 1, 1)
    return ink.repeat_interleave(8, 2).repeat_interleave(8, 3)


def used_detector(layers: int = 1) -> Detector:
    """A detector whose batch norms hold statistics, as after training."""
    torch.manual_seed(0)
    detector = Detector(DetectorConfig(layers=layers))
    with torch.no_grad():
        for _ in range(3):
            detector(blocks(32, layers, 64, 64))
        detector.verdict.weight.mul_(1000)
    return detector.eval()


@pytest.mark.parametrize(
    ("layers", "height", "width"),
    [(1, 64, 64), (3, 64, 64), (1, 128, 128), (2, 32, 48)],
)
def test_one_network_takes_clips_of_any_size(layers, height, width):
    detector = used_detector(layers)
    logit, embedding = detector(blocks(5, layers, height, width))
    assert logit.shape == (5,)
    assert embedding.shape == (5, detector.config.embedding)
    torch.testing.assert_close(embedding.norm(dim=1), torch.ones(5))
    assert logit.std() > 1e-3


@pytest.mark.parametrize("size", [64, 128])
def test_folded_network_gives_the_same_answers(size):
    detector = used_detector()
    folded = detector.for_inference()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in detector.modules())
    x = blocks(32, 1, size, size)
    with torch.inference_mode():
        logit, embedding = detector(x)
        folded_logit, folded_embedding = folded(x)
    assert logit.std() > 0.01
    torch.testing.assert_close(folded_logit.sigmoid(), logit.sigmoid(), atol=1e-5, rtol=0)
    torch.testing.assert_close(folded_embedding, embedding, atol=1e-5, rtol=0)


def test_every_weight_learns():
    torch.manual_seed(0)
    detector = Detector(DetectorConfig())
    logit, embedding = detector(blocks(8, 1, 64, 64))
    (logit.square().sum() + (embedding * torch.rand_like(embedding)).sum()).backward()
    still = [name for name, p in detector.named_parameters() if not p.grad.abs().sum() > 0]
    assert still == []


def test_default_network_is_small_enough_to_ship():
    parameters = sum(p.numel() for p in Detector(DetectorConfig()).parameters())
    assert 40_000 < parameters < 150_000


def test_width_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="60 channels; take a multiple of 8"):
        Detector(DetectorConfig(coarse=(60,)))


def test_channel_attention_by_its_formula():
    attention = ChannelAttention(8)
    x = torch.randn(3, 8, 5, 7)
    w1, b1 = attention.encode.weight, attention.encode.bias
    w2, b2 = attention.decode.weight, attention.decode.bias
    for n in range(3):
        mean = torch.stack([x[n, c].sum() / 35 for c in range(8)])
        largest = torch.stack([x[n, c].flatten().sort().values[-1] for c in range(8)])
        codes = [w2 @ torch.clamp(w1 @ pooled + b1, min=0) + b2 for pooled in (mean, largest)]
        weight = 1 / (1 + torch.exp(-(codes[0] + codes[1])))
        expected = torch.stack([weight[c] * x[n, c] for c in range(8)])
        torch.testing.assert_close(attention(x)[n], expected)


def test_spatial_attention_by_its_formula():
    attention = SpatialAttention(kernel=3)
    x = torch.randn(1, 4, 6, 5)
    maps = torch.zeros(2, 8, 7)  # a border of zeros around (6, 5)
    maps[0, 1:-1, 1:-1] = x[0].sort(dim=0).values[-1]
    maps[1, 1:-1, 1:-1] = x[0].sum(0) / 4
    for row in range(6):
        for column in range(5):
            window = maps[:, row : row + 3, column : column + 3]
            z = (window * attention.conv.weight[0]).sum() + attention.conv.bias[0]
            expected = x[0, :, row, column] / (1 + torch.exp(-z))
            torch.testing.assert_close(attention(x)[0, :, row, column], expected)


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

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from stages.detector.networks.attention import (
    ATTENTION,
    AttentionBranch,
    ChannelAttention,
    FeatureDifference,
    ScaleSpace,
    SelfAttention,
    SpatialAttention,
    SqueezeExcitation,
    extremal,
    place_attention,
)
from stages.detector.networks.detector import Detector
from stages.detector.networks.shapes import DetectorConfig

BRANCHED = DetectorConfig(
    stem=16, fine=(16,), coarse=(16, 24), embedding=8, attention="attention_branch"
)


def features(channels, h=6, w=5, n=3):
    return torch.randn(n, channels, h, w)


@pytest.mark.parametrize("name", ATTENTION)
def test_every_kind_keeps_the_shape_and_learns(name):
    torch.manual_seed(0)
    attention = ATTENTION[name](16)
    if name == "self_attention":
        attention.share.data += 0.5
    x = features(16).requires_grad_()
    out = attention(x, features(8))
    assert out.shape == x.shape
    (out * torch.randn_like(out)).sum().backward()
    assert x.grad.abs().sum() > 0
    still = [each for each, p in attention.named_parameters() if not p.grad.abs().sum() > 0]
    assert still == []


def test_no_attention_changes_nothing():
    x = features(4)
    assert torch.equal(ATTENTION["none"](4)(x, features(4)), x)


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


def test_squeeze_excitation_by_its_formula():
    attention = SqueezeExcitation(8)
    x = features(8)
    w1, b1 = attention.encode.weight, attention.encode.bias
    w2, b2 = attention.decode.weight, attention.decode.bias
    out = attention(x, x)
    for n in range(3):
        mean = torch.stack([x[n, c].sum() / 30 for c in range(8)])
        weight = 1 / (1 + torch.exp(-(w2 @ torch.clamp(w1 @ mean + b1, min=0) + b2)))
        for c in range(8):
            torch.testing.assert_close(out[n, c], weight[c] * x[n, c])


def brute_force_extremal(x):
    h, w = x.shape[2:]
    share = torch.zeros_like(x)
    for i, j, row, column in torch.cartesian_prod(*map(torch.arange, x.shape)).tolist():
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                near = x[i, j, min(max(row + down, 0), h - 1), min(max(column + right, 0), w - 1)]
                share[i, j, row, column] += (near <= x[i, j, row, column]) / 9
    return share


@pytest.mark.parametrize("levels", [2, 4, 1000])
def test_extremal_is_the_share_of_neighbours_that_are_not_larger(levels):
    x = torch.randint(levels, (2, 3, 5, 4), generator=torch.Generator().manual_seed(1)).float()
    torch.testing.assert_close(extremal(x), brute_force_extremal(x))


def test_scale_space_by_its_formula():
    attention = ScaleSpace(4)
    x, before = features(4), features(6)
    difference = torch.stack([(x[:, c] - before.sum(1) / 6).abs() for c in range(4)], 1)
    z = attention.smooth(brute_force_extremal(difference) * difference)
    expected = x / (1 + torch.exp(-torch.clamp(z, min=0)))
    torch.testing.assert_close(attention(x, before), expected)


def test_feature_difference_by_its_formula_and_without_parameters():
    attention, x = FeatureDifference(4), features(4)
    assert list(attention.parameters()) == []
    for before in (features(4), features(6)):
        compared = before if before.shape == x.shape else before.sum(1, keepdim=True) / 6
        d = (x - compared).abs()
        mask = 1 / (1 + torch.exp(-torch.where(d < 1, d * d / 2, d - 0.5)))
        torch.testing.assert_close(attention(x, before), x * mask)


@pytest.mark.parametrize(
    ("name", "fine", "coarse", "placed"),
    [
        ("scale_space_pooling", 2, 2, ["none", "scale_space", "none", "none"]),
        ("attention_branch_once", 1, 2, ["none", "attention_branch", "none"]),
        ("attention_branch_once", 1, 0, ["attention_branch"]),
        ("squeeze_excitation", 1, 1, ["squeeze_excitation", "squeeze_excitation"]),
    ],
)
def test_attention_follows_the_blocks_that_it_is_meant_for(name, fine, coarse, placed):
    assert place_attention(name, fine, coarse) == placed


def test_one_branch_has_one_verdict_and_weighs_what_the_last_block_sees():
    torch.manual_seed(0)
    detector = Detector(replace(BRANCHED, attention="attention_branch_once"))
    branches = [each for each in detector.modules() if isinstance(each, AttentionBranch)]
    assert branches == [detector.coarse[-2].attention]
    assert len(detector(torch.rand(4, 1, 32, 32)).branch_logits) == 1


def test_self_attention_starts_as_nothing_and_learns_its_share_first():
    attention = SelfAttention(8)
    x = features(8)
    out = attention(x, x)
    assert torch.equal(out, x)
    (out * torch.randn_like(out)).sum().backward()
    learning = {name for name, p in attention.named_parameters() if p.grad.abs().sum() > 0}
    assert learning == {"share"}


def test_self_attention_by_its_formula():
    attention = SelfAttention(8)
    attention.share.data.fill_(0.7)
    x = features(8, 3, 4)
    mix, bias = attention.query_key.weight[:, :, 0, 0], attention.query_key.bias
    for n, out in enumerate(attention(x, x)):
        places = [x[n, :, row, column] for row in range(3) for column in range(4)]
        query = [(mix @ place + bias)[:2] for place in places]
        key = [(mix @ place + bias)[2:] for place in places]
        value = [
            attention.value.weight[:, :, 0, 0] @ place + attention.value.bias for place in places
        ]
        for i, place in enumerate(places):
            likeness = torch.stack([(query[i] * k).sum() / 2**0.5 for k in key]).exp()
            seen = sum(a * v for a, v in zip(likeness / likeness.sum(), value, strict=True))
            torch.testing.assert_close(out[:, i // 4, i % 4], place + 0.7 * seen)


@pytest.mark.parametrize("training", [True, False])
def test_attention_branch_by_its_formula(training):
    branch = AttentionBranch(8).train(training)
    x = features(8)
    response = branch.respond(F.relu(branch.look(x)))
    expected = x * (1 + 1 / (1 + torch.exp(-branch.map(response))))
    torch.testing.assert_close(branch(x, x), expected)
    if training:
        torch.testing.assert_close(branch.logit, response.flatten(1).sum(1) / 30)
    else:
        assert branch.logit is None


def test_branches_have_a_verdict_each_in_training_only():
    torch.manual_seed(0)
    detector = Detector(BRANCHED)
    responses = []
    branches = [each for each in detector.modules() if isinstance(each, AttentionBranch)]
    for branch in branches:
        branch.respond.register_forward_hook(lambda module, given, out: responses.append(out))
    more = detector(torch.rand(4, 1, 32, 32)).branch_logits
    assert len(more) == len(branches) == 3
    for logit, response in zip(more, responses, strict=True):
        torch.testing.assert_close(logit, response.mean((1, 2, 3)))
    sum(more).sum().backward()
    assert all(branch.respond.weight.grad.abs().sum() > 0 for branch in branches)
    assert len(detector(torch.rand(4, 1, 32, 32)).branch_logits) == 3
    assert detector.eval()(torch.rand(4, 1, 32, 32)).branch_logits == ()


def test_branches_may_be_copied_right_after_a_step_of_training():
    torch.manual_seed(0)
    detector = Detector(BRANCHED)
    x = torch.rand(4, 1, 32, 32)
    detector(x)
    folded, copied = detector.for_inference(), copy.deepcopy(detector).eval()
    with torch.inference_mode():
        torch.testing.assert_close(folded(x).logit, copied(x).logit, atol=1e-5, rtol=1e-4)

import io
import sys
from functools import cache

import numpy as np
import pytest
import torch
from scipy.fft import dctn

from stages.contracts import RasterSpec
from stages.detector.baselines.binary import BinaryConvolution, signs
from stages.detector.baselines.dct import DctConfig, DctNetwork, cosines
from stages.detector.baselines.density import fit_trees
from stages.detector.baselines.matching import ExactLibrary, FuzzyLibrary, build_library
from stages.detector.baselines.multitask import weigh_clips
from stages.detector.catalogue import DETECTORS, FitRequest, find_kind, fit
from stages.detector.models import checkpoint
from stages.detector.models.checkpoint import Checkpoint
from stages.detector.networks.committee import Committee
from stages.detector.networks.shapes import Rules
from stages.detector.training import loop as training
from stages.detector.training.loop import TrainingConfig
from stages.detector.training.thresholds import OperatingPoint, pr_auc
from stages.errors import UsageError
from stages.scores import NetworkScorer, score_rasters
from tests.support.detectors import covered, two_bars

RASTER = RasterSpec(40.0, 64, 32)


@cache
def fit_small(name, seed=0):
    if name == "density":
        pytest.importorskip("lightgbm")
    kind = find_kind(name)
    config = TrainingConfig(**({"epochs": 1, "steps": 2, "batch": 8, "seed": seed} | kind.training))
    request = FitRequest(name, kind.shape(RASTER), config)
    return fit(request, two_bars(60, 1), two_bars(40, 2)).detector


def tensor(rasters):
    return torch.from_numpy(rasters).float() / 255


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_judges_clips(name):
    detector = fit_small(name)
    x = tensor(two_bars(9, 3).rasters)
    with torch.inference_mode():
        judged = detector(x)
        ready = detector.for_inference()(x)
    assert judged.logit.shape == (9,)
    assert judged.logit.isfinite().all()
    assert judged.embedding.shape == (9, find_kind(name).shape(RASTER).embedding)
    torch.testing.assert_close(judged.embedding.norm(dim=1), torch.ones(9))
    assert judged.branch_logits == ()
    # a sign near 0 may turn by rounding
    atol = 1e-2 if name == "binary" else 1e-5
    torch.testing.assert_close(ready.logit.sigmoid(), judged.logit.sigmoid(), atol=atol, rtol=0)


def saved_and_loaded(path, **given):
    saved = Checkpoint(
        raster=RASTER, layers=("met1",), process="krf130",
        operating_point=OperatingPoint(0.25, 0.99, 7, 0.007, 100, 1100), provenance={}, **given,
    )  # fmt: skip
    checkpoint.save(path, saved)
    return saved, checkpoint.load(path)


@pytest.mark.parametrize("name", DETECTORS)
def test_every_detector_outlives_its_file(tmp_path, name):
    detector = fit_small(name)
    saved, loaded = saved_and_loaded(
        tmp_path / "a.pt", weights=detector.get_arrays(), config=detector.config, name=name
    )
    assert (loaded.name, loaded.config, loaded.rules) == (name, detector.config, None)
    assert loaded.digest == saved.digest
    rasters = two_bars(70, 3).rasters
    scores = [
        score_rasters(rasters, NetworkScorer(each, RASTER))
        for each in (detector, loaded.detector())
    ]
    np.testing.assert_array_equal(scores[0].score, scores[1].score)
    np.testing.assert_array_equal(scores[0].embedding, scores[1].embedding)


@pytest.mark.parametrize("name", ["attention", "dct"])
def test_a_committee_outlives_its_file(tmp_path, name):
    rules = Rules(members=2, symmetries=4, ensemble_from=-0.5)
    committee = Committee([fit_small(name), fit_small(name, seed=1)], rules)
    saved, loaded = saved_and_loaded(
        tmp_path / "a.pt", weights=committee.get_arrays(), config=committee.config, name=name,
        rules=rules,
    )  # fmt: skip
    assert loaded.rules == rules
    assert loaded.digest == saved.digest
    x = tensor(two_bars(9, 3).rasters)
    with torch.inference_mode():
        ours, theirs = saved.detector(), loaded.detector()
        assert ours.ensemble_from == theirs.ensemble_from == -0.5
        assert torch.equal(ours(x).logit, theirs(x).logit)
        assert torch.equal(ours.ensemble_logit(x), theirs.ensemble_logit(x))
        torch.testing.assert_close(theirs.ensemble_logit(x), committee.ensemble_logit(x))


def test_unknown_detector_is_refused_by_name():
    with pytest.raises(UsageError, match=r"detector 'svm' is unknown.*attention, exact, fuzzy"):
        find_kind("svm")


@pytest.mark.parametrize(
    ("name", "chosen"),
    [("dct", "attention"), ("density", "inception"), ("exact", "clip"), ("attention", "widths")],
)
def test_setting_that_a_detector_lacks_is_refused_by_name(name, chosen):
    with pytest.raises(UsageError, match=f"has no setting {chosen};"):
        find_kind(name).shape(RASTER, **{chosen: "none"})


def test_settings_that_are_chosen_are_taken():
    shape = find_kind("attention").shape(RasterSpec(40.0, 64, 32, layers=2), attention="none")
    assert (shape.layers, shape.attention) == (2, "none")
    assert find_kind("dct").shape(RasterSpec(40.0, 96, 32)).clip_px == 96


@pytest.mark.parametrize(("side", "count"), [(3, 9), (5, 25), (8, 32)])
def test_cosines_are_orthonormal(side, count):
    basis = cosines(side, count).flatten(1)
    assert basis.shape == (count, side**2)
    torch.testing.assert_close(basis @ basis.T, torch.eye(count), atol=1e-5, rtol=0)


def test_cosines_come_in_zigzag():
    changes = [
        tuple(int((side.sign().diff() != 0).sum()) for side in (wave[:, 0], wave[0]))
        for wave in cosines(4, 10)
    ]
    assert changes == [
        (0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0)
    ]  # fmt: skip


def test_feature_tensor_is_the_cosine_transform_of_each_block():
    network = DctNetwork(DctConfig(layers=2, clip_px=64))
    x = torch.rand(2, 2, 64, 64)
    found = network.tensor(x)
    assert found.shape == (2, 2 * 25, 12, 12)
    for n, layer, row, column in [(0, 0, 0, 0), (1, 0, 3, 7), (0, 1, 11, 11), (1, 1, 5, 0)]:
        top, left = 2 + 5 * row, 2 + 5 * column  # 60 of 64 pixels, from the middle
        block = dctn(x[n, layer, top : top + 5, left : left + 5].numpy(), norm="ortho") / 5
        ours = found[n, 25 * layer : 25 * layer + 25, row, column]
        assert ours[:3].tolist() == pytest.approx([block[0, 0], block[0, 1], block[1, 0]], abs=1e-5)
        assert sorted(ours.tolist()) == pytest.approx(sorted(block.flatten().tolist()), abs=1e-5)


def test_feature_tensor_of_a_constant_picture_has_only_first_coefficients():
    network = DctNetwork(DctConfig(layers=2, clip_px=48))
    grey = torch.tensor([0.25, 1.0])
    found = network.tensor(grey[None, :, None, None].expand(1, 2, 48, 48))
    expected = torch.zeros(1, 2, 16, 12, 12)
    expected[:, :, 0] = grey[None, :, None, None]
    torch.testing.assert_close(found, expected.flatten(1, 2), atol=1e-6, rtol=0)


def test_signs_let_gradients_through_up_to_one():
    x = torch.tensor([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0], requires_grad=True)
    out = signs(x)
    assert out.tolist() == [-1, -1, -1, 1, 1, 1, 1]
    (out * torch.arange(1.0, 8.0)).sum().backward()
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 6, 0]


def test_binary_weights_are_one_magnitude_per_channel():
    torch.manual_seed(0)
    layer = BinaryConvolution(2, 3, stride=1).eval()
    lit = torch.ones(1, 2, 3, 3)
    found = torch.empty(3, 2, 3, 3)
    with torch.no_grad():
        for c, i, j in torch.cartesian_prod(*map(torch.arange, (2, 3, 3))).tolist():
            dark = lit.clone()
            dark[0, c, i, j] = -0.1
            found[:, c, i, j] = (layer(lit) - layer(dark))[0, :, 1, 1] / 2
        for channel, weight in zip(found, layer.conv.weight, strict=True):
            scale = sum(abs(w) for w in weight.flatten().tolist()) / 18
            torch.testing.assert_close(channel, torch.where(weight >= 0, scale, -scale))
        assert torch.equal(layer(lit), layer(7 * lit))


def test_binary_weights_learn():
    layer = BinaryConvolution(2, 3, stride=2)
    layer(torch.randn(2, 2, 6, 6)).square().sum().backward()
    assert layer.conv.weight.grad.abs().min() > 0


def test_weights_of_pseudo_labels_fall_with_the_distance():
    rng = np.random.default_rng(0)
    embedding = np.sqrt(rng.dirichlet((0.5, 0.5, 0.5), 30)).astype(np.float32)
    cluster = [max(range(3), key=lambda k: row[k]) for row in embedding]
    distance = []
    for row, mine in zip(embedding, cluster, strict=True):
        alike = [other for other, its in zip(embedding, cluster, strict=True) if its == mine]
        distance.append(np.mean([((row - other) ** 2).sum() for other in alike]))
    weight = weigh_clips(embedding)
    assert weight.dtype == np.float32
    assert (np.diff(weight[np.argsort(distance)]) < 0).all()
    np.testing.assert_allclose(weight, np.exp(-np.array(distance) / np.mean(distance)), rtol=1e-4)


def test_clips_that_are_all_alike_weigh_one():
    assert weigh_clips(np.full((5, 4), 0.5, np.float32)).tolist() == [1] * 5


def test_multitask_gives_the_same_weights_when_resumed():
    kind = find_kind("multitask")
    config = TrainingConfig(**(kind.training | {"epochs": 3, "steps": 2, "batch": 8}))
    files = []

    def keep(report, state):
        file = io.BytesIO()
        torch.save(state, file)
        files.append(file.getvalue())

    def run(state=None, on_epoch=lambda report, state: None):
        request = FitRequest("multitask", kind.shape(RASTER), config)
        trained = fit(request, two_bars(40, 1), two_bars(40, 2), on_epoch, state)
        return trained.history, trained.detector.state_dict()

    history, weights = run(on_epoch=keep)
    assert len(files) == 3  # on the labelled share, then twice on all
    for file in files:
        resumed_history, resumed = run(torch.load(io.BytesIO(file), weights_only=True))
        assert resumed_history == history
        assert all(torch.equal(weights[name], resumed[name]) for name in weights)


def test_multitask_renews_labels_and_weights_before_every_epoch_but_the_first(monkeypatch):
    clips, seen = two_bars(60, 1), []

    def train_one_epoch(network, optimiser, given, *others):
        seen.append(given)
        return original(network, optimiser, given, *others)

    original = training.train_one_epoch
    monkeypatch.setattr(training, "train_one_epoch", train_one_epoch)
    kind = find_kind("multitask")
    config = TrainingConfig(**(kind.training | {"epochs": 3, "steps": 4, "batch": 8}))
    fit(FitRequest("multitask", kind.shape(RASTER), config), clips, None)
    first, second, third = seen
    labelled = first.weights == 1
    assert 0.3 < labelled.mean() < 0.7
    assert set(first.weights) == {0, 1}
    for later in (second, third):
        np.testing.assert_array_equal(later.labels[labelled], clips.labels[labelled])
        assert (later.weights[labelled] == 1).all()
        assert (later.weights > 0).all()
    assert not np.array_equal(second.weights, third.weights)


def test_exact_library_finds_its_pictures_and_no_others():
    rasters = two_bars(40, 1).rasters
    library = build_library(rasters[::5], ExactLibrary)
    nearly = rasters[:1].copy()
    nearly[0, 0, 31, 20] ^= 1
    logit = library(tensor(np.concatenate([rasters, nearly]))).logit
    assert [i for i, z in enumerate(logit.tolist()) if z > 0] == list(range(0, 40, 5))


def bar(left, right, low=24.0, high=44.0):
    """One bar by area coverage, (1, 1, 64, 64)."""
    rows, columns = (covered(np.array([a]), np.array([b])) for a, b in ((low, high), (left, right)))
    return np.rint(255 * rows[:, None, :, None] * columns[:, None, None, :]).astype(np.uint8)


@pytest.mark.parametrize("way", [1, -1])
def test_fuzzy_library_tells_by_how_much_an_edge_moved(way):
    library = build_library(bar(20, 40), FuzzyLibrary)
    moved = [bar(20, 40 + way * by) for by in (0, 0.2, 0.5, 1)]
    logit = library(tensor(np.concatenate([*moved, bar(5, 9, 0, 64)]))).logit
    assert logit.tolist() == pytest.approx([10, 8, 5, 0, -10], abs=0.05)


@pytest.mark.parametrize("edge", [40.1, 40.5, 40.8])
def test_fuzzy_library_never_gains_when_an_edge_moves_on(edge):
    library = build_library(bar(20, edge), FuzzyLibrary)
    moved = [bar(20, edge + by) for by in (0, 0.2, 0.5, 1)]
    logit = library(tensor(np.concatenate([*moved, bar(5, 9, 0, 64)]))).logit
    assert logit[0] == 10
    assert (logit.diff() < 0).all()
    assert logit[1] < 10
    assert logit[3] > logit[4] == -10


def test_fuzzy_library_knows_clips_in_every_orientation():
    ell = np.maximum(bar(10, 40, 20, 30), bar(10, 20, 20, 55))
    known = np.concatenate([bar(5, 9, 0, 64), ell])
    twins = [torch.rot90(side, k, (2, 3)) for side in (tensor(ell), tensor(ell).flip(3))
             for k in range(4)]  # fmt: skip
    assert build_library(known, FuzzyLibrary)(torch.cat(twins)).logit.tolist() == [10] * 8


def ink(n, seed):
    """Random 4 x 4 blocks, dense ones labelled."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.3
    filled = rng.random((n, 1, 16, 16)) < np.where(labels, 0.7, 0.3)[:, None, None, None]
    return np.kron(filled, np.full((4, 4), 255)).astype(np.uint8), labels


def test_density_trees_tell_dense_from_sparse():
    pytest.importorskip("lightgbm")
    trees = fit_trees(*ink(80, 1), seed=0)
    rasters, labels = ink(60, 2)
    logit = trees(tensor(rasters)).logit.numpy()
    assert pr_auc(logit, labels) > 0.98
    again = fit_trees(*ink(80, 1), seed=0)
    assert torch.equal(again.text, trees.text)


def test_density_without_lightgbm_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(UsageError, match=r"needs LightGBM.*hotscan\[rows\]"):
        fit_trees(*ink(20, 1), seed=0)

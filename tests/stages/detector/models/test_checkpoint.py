import dataclasses
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.contracts import RasterSpec
from stages.detector.models import checkpoint
from stages.detector.models.checkpoint import Checkpoint
from stages.detector.networks.detector import Detector
from stages.detector.networks.prefilter import Prefilter
from stages.detector.networks.prefilter_network import PrefilterNetwork
from stages.detector.networks.shapes import DetectorConfig, PrefilterConfig
from stages.detector.training.thresholds import OperatingPoint
from stages.errors import UsageError


def small_checkpoint(seed: int = 0) -> Checkpoint:
    torch.manual_seed(seed)
    config = DetectorConfig(stem=8, fine=(8,), coarse=(8, 16), embedding=4)
    return Checkpoint(
        weights=Detector(config).get_arrays(),
        config=config,
        raster=RasterSpec(pixel_nm=40.0, clip_px=64, core_px=32),
        layers=("met1",),
        process="krf130",
        operating_point=OperatingPoint(0.25, 0.99, 7, 0.007, 100, 1100),
        provenance={"seed": seed, "trained_on": "two bars", "pr_auc": [0.5, 0.9]},
    )


def test_what_is_saved_is_loaded(tmp_path):
    examples = np.random.default_rng(0).integers(0, 256, (3, 1, 64, 64), np.uint8)
    saved = dataclasses.replace(small_checkpoint(), examples=examples)
    checkpoint.save(tmp_path / "a.pt", saved)
    loaded = checkpoint.load(tmp_path / "a.pt")
    assert np.array_equal(loaded.examples, examples)
    for field in dataclasses.fields(Checkpoint):
        if field.name not in ("weights", "examples"):
            assert getattr(loaded, field.name) == getattr(saved, field.name)
    assert loaded.threshold == 0.25
    x = torch.rand(2, 1, 64, 64)
    ours, theirs = saved.detector()(x), loaded.detector()(x)
    assert torch.equal(ours.logit, theirs.logit)
    assert torch.equal(ours.embedding, theirs.embedding)
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_a_head_for_margins_is_kept_and_one_that_is_not_there_changes_no_digest(tmp_path):
    plain = small_checkpoint()
    with_head = replace(plain.config, kinds=("pinch", "space"))
    headed = replace(plain, config=with_head, weights=Detector(with_head).get_arrays())
    checkpoint.save(tmp_path / "a.pt", headed)
    loaded = checkpoint.load(tmp_path / "a.pt")
    assert loaded.detector().kinds == ("pinch", "space")
    assert loaded.detector()(torch.rand(3, 1, 64, 64)).margin.shape == (3, 2)
    assert plain.detector()(torch.rand(3, 1, 64, 64)).margin is None
    for name, digest in (("krf130-met1", "6fd77ee1971894120e38c0f5a372334a"),):
        assert checkpoint.load(checkpoint.find(name)).digest.startswith(digest)


def test_digest_is_that_of_the_content(tmp_path):
    digests = []
    for name in ("a.pt", "b.pt"):
        checkpoint.save(tmp_path / name, small_checkpoint())
        digests.append(checkpoint.load(tmp_path / name).digest)
    assert digests == [small_checkpoint().digest] * 2
    other_point = dataclasses.replace(small_checkpoint().operating_point, threshold=0.26)
    example = np.zeros((1, 1, 64, 64), np.uint8)
    others = [
        small_checkpoint(seed=1),
        dataclasses.replace(small_checkpoint(), examples=example),
        dataclasses.replace(small_checkpoint(), examples=example + 1),
        dataclasses.replace(small_checkpoint(), operating_point=other_point),
        dataclasses.replace(small_checkpoint(), process="arfi45"),
        dataclasses.replace(small_checkpoint(), raster=RasterSpec(40.0, 64, 30)),
    ]
    assert len({digests[0], *(other.digest for other in others)}) == 7


class Harmful:
    def __reduce__(self):
        return print, ("a model file ran code",)


def write_harmful(path):
    path.write_bytes(pickle.dumps(Harmful()))


def write_harmful_torch(path):
    torch.save({"kind": checkpoint.KIND, "version": 1, "about": Harmful()}, path)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "is not there"),
        (lambda path: path.mkdir(), "is not there"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_bytes(b"GDSII or so"), "cannot be read"),
        (lambda path: path.write_bytes(b"PK\x03\x04 cut short"), "cannot be read"),
        (write_harmful, "cannot be read"),
        (write_harmful_torch, "cannot be read"),
        (lambda path: torch.save(torch.zeros(3), path), "no hotscan detector"),
        (lambda path: torch.save({"state_dict": {}}, path), "no hotscan detector"),
        (
            lambda path: torch.save({"kind": checkpoint.KIND, "version": 99}, path),
            "format 99 but this hotscan reads format 3",
        ),
        (lambda path: torch.save({"kind": checkpoint.KIND, "version": 3}, path), "is damaged"),
    ],
)
def test_other_files_are_refused_by_name(tmp_path, capsys, write, message):
    path = tmp_path / "model.pt"
    write(path)
    with pytest.raises(UsageError, match=message) as refusal:
        checkpoint.load(path)
    assert str(path) in str(refusal.value)
    assert "ran code" not in capsys.readouterr().out


def test_changed_weights_are_noticed(tmp_path):
    path = tmp_path / "model.pt"
    checkpoint.save(path, small_checkpoint())
    content = torch.load(path, weights_only=True)
    content["weights"]["verdict.bias"] += 0.001
    torch.save(content, path)
    with pytest.raises(UsageError, match="is damaged"):
        checkpoint.load(path)


def test_layers_must_agree():
    with pytest.raises(UsageError, match="the picture has 1 layers, the detector 1 and 2"):
        dataclasses.replace(small_checkpoint(), layers=("met1", "via"))


def test_find_takes_a_shipped_name_or_a_path(tmp_path, monkeypatch):
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    for name in ("krf130-met1", "arfi45"):
        checkpoint.save(shelf / f"{name}.pt", small_checkpoint())
    monkeypatch.setattr(checkpoint, "WEIGHTS", shelf)
    assert checkpoint.shipped() == ("arfi45", "krf130-met1")
    assert checkpoint.find("arfi45") == shelf / "arfi45.pt"
    mine = tmp_path / "mine.pt"
    mine.touch()
    assert checkpoint.find(str(mine)) == mine
    with pytest.raises(UsageError, match=r"'krf130'.*shipped are: arfi45, krf130-met1"):
        checkpoint.find("krf130")


def test_the_prefilter_is_valid_from_the_models_own_threshold():
    small = PrefilterNetwork(PrefilterConfig()).eval()
    prefilter = Prefilter(small.config, small.get_arrays(), 0.5, 0.0, 0.25)
    model = replace(small_checkpoint(), prefilter=prefilter)
    below, above = np.nextafter(model.threshold, 0), np.nextafter(model.threshold, 1)
    assert [model.may_prefilter(t) for t in (below, model.threshold, above)] == [False, True, True]
    assert not small_checkpoint().may_prefilter(1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    model = small_checkpoint()
    weights = {name: value.copy() for name, value in model.weights.items()}
    weights["verdict.bias"][0] = value
    checkpoint.save(tmp_path / "a.pt", replace(model, weights=weights))
    with pytest.raises(UsageError, match=r"a\.pt' has a weight in verdict\.bias that is"):
        checkpoint.load(tmp_path / "a.pt")

"""From datasets to a checkpoint, stopped or not."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from pipeline.datasets.store import load_dataset
from pipeline.engine.storage.checksums import seal_folder
from pipeline.train import distil, network_jobs
from pipeline.train.committee_plan import COMMITTEE, PARTS, SCORED_PARTS
from pipeline.train.model import train_model
from pipeline.train.network_jobs import Machine
from pipeline.train.prefilter_fit import NEAR, PREFILTER_LOSS
from pipeline.train.training_set import Patterns, merge_datasets, split_patterns
from stages.detector.models import checkpoint
from stages.errors import IncompleteError, ModelMismatchError, RunMismatchError, UsageError
from stages.lithography.measure.margins import MARGINAL, find_worst_margin
from stages.scores import build_scorer, choose_arithmetic, score_rasters
from tests.support.trainings import ONE, QUICK, Whole, ask, train, train_once


@pytest.fixture(scope="session")
def single(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """One network, validated."""
    return train_once(tmp_path_factory, "single", labelled, validation=(labelled,))


FEW = {"false_alarm_rate": 0.1}


@pytest.fixture(scope="session")
def few(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Four networks, of few hotspots."""
    return train_once(tmp_path_factory, "few", labelled, **FEW)


def count_sure(labelled: Path) -> int:
    """Count the clips that are not marginal: only those set a threshold."""
    return int((np.abs(load_dataset(labelled).worst_margin()) > MARGINAL).sum())


def test_a_checkpoint_describes_itself(single: Whole, labelled: Path) -> None:
    """Its operating point is what counting on the validation clips gives."""
    assert [line.split("  ")[0] for line in single.said] == ["epoch 1/2", "epoch 2/2"]
    model, dataset = checkpoint.load(single.checkpoint), load_dataset(labelled)
    assert single.digest == model.digest
    assert (model.raster, model.process) == (dataset.spec, "krf130")
    assert model.provenance["trained_on_layers"] == ["68/20"]
    point = model.operating_point
    scorer = build_scorer(model, prefiltered=False, arithmetic="int8")  # as a scan, by default
    scored = score_rasters(dataset.raster, scorer).score
    assert dataset.margin is not None
    sure = np.abs(find_worst_margin(dataset.margin)) > MARGINAL
    flagged, label = (scored[dataset.pattern] >= point.threshold)[sure], dataset.label[sure]
    assert 0 < point.hotspots == label.sum() < dataset.label.sum()
    assert point.clips == sure.sum()
    assert point.recall == pytest.approx((flagged & label).sum() / label.sum())
    assert point.false_alarms == (flagged & ~label).sum()
    assert point.recall >= 0.99
    assert sorted(path.name for path in single.checkpoint.parent.iterdir()) == ["m.png", "m.pt"]


def test_a_stopped_training_resumes_to_the_same_digest(
    single: Whole, labelled: Path, tmp_path: Path
) -> None:
    def stop(text: str) -> None:
        if text.startswith("epoch 2/"):
            raise KeyboardInterrupt

    out = tmp_path / "stopped.pt"
    with pytest.raises(KeyboardInterrupt):
        train_model(ask(labelled, out, validation=(labelled,)), log=stop)
    assert not out.exists()
    with pytest.raises(RunMismatchError, match=r"stopped\.pt\.training was left by a training"):
        train(labelled, out, seed=1)
    assert train(labelled, out)["digest"] == single.digest


def test_another_division_into_training_and_validation_is_not_resumed(
    labelled: Path, tmp_path: Path
) -> None:
    """The same clips in the same order, but the second dataset is for another purpose."""
    other, out = copy_of(labelled, tmp_path / "other"), tmp_path / "m.pt"
    datasets = (labelled, labelled, other)

    def stop(text: str) -> None:
        if text.startswith("epoch 2/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_model(ask(labelled, out, datasets=datasets[:1], validation=datasets[1:]), log=stop)
    with pytest.raises(RunMismatchError, match="training with other data or settings"):
        train_model(ask(labelled, out, datasets=datasets[:2], validation=datasets[2:]))


def test_a_prefilter_loses_no_more_than_it_may(labelled: Path, tmp_path: Path) -> None:
    """And a model that is only to be measured does without: it is otherwise the same."""
    long = {"epochs": 4, "steps": 40}
    train(labelled, tmp_path / "m.pt", **long)
    asked = ask(labelled, tmp_path / "measured.pt", validation=(labelled,), training=QUICK | long)
    train_model(replace(asked, prefilter=False))
    assert checkpoint.load(tmp_path / "measured.pt").prefilter is None
    model = checkpoint.load(tmp_path / "m.pt")
    prefilter = model.prefilter
    assert prefilter is not None
    assert prefilter.lost <= PREFILTER_LOSS
    assert 0 < prefilter.passed <= 1
    dataset = load_dataset(labelled)  # the training was validated on it, too
    assert choose_arithmetic(model, "cpu") == "int8"
    alone = score_rasters(dataset.raster, build_scorer(model, prefiltered=False)).score
    behind = score_rasters(dataset.raster, build_scorer(model)).score
    sent_away = behind == 0
    assert 1 - sent_away.mean() == pytest.approx(prefilter.passed, abs=2 / len(dataset.raster))
    np.testing.assert_array_equal(behind[~sent_away], alone[~sent_away])
    hot = dataset.counts()[0]
    lost = hot[sent_away & (alone >= model.threshold)].sum() / hot.sum()
    assert lost == pytest.approx(prefilter.lost)


def test_the_seed_matters(labelled: Path, tmp_path: Path) -> None:
    digests = {
        train(labelled, tmp_path / f"{seed}.pt", epochs=1, seed=seed)["digest"] for seed in (0, 1)
    }
    assert len(digests) == 2


@pytest.mark.parametrize(("weight", "learns"), [(0.0, False), (0.5, True)])
def test_margins_that_are_not_learnt_are_not_predicted(
    weight: float, learns: bool, labelled: Path, tmp_path: Path
) -> None:
    train(labelled, tmp_path / "m.pt", epochs=1, margin_weight=weight)
    assert bool(checkpoint.load(tmp_path / "m.pt").detector().kinds) == learns


def test_few_hotspots_are_judged_by_what_did_not_learn_from_them(
    labelled: Path, tmp_path: Path
) -> None:
    """And a training that is stopped in any of its networks resumes to the same digest."""
    said: list[str] = []
    settings = {"training": ONE, "false_alarm_rate": 0.1}
    whole = train_model(ask(labelled, tmp_path / "m.pt", **settings), log=said.append)
    networks = [row.name for row in COMMITTEE]
    assert [line.split("  ")[0] for line in said] == networks
    model = checkpoint.load(tmp_path / "m.pt")
    assert model.rules is not None
    assert model.rules.members == len(networks)
    middles = [bool(network.config.centres_px) for network in model.detector().members]
    assert middles == [False, True, True, False]
    judged = model.operating_point.clips / count_sure(labelled)
    assert judged == pytest.approx(SCORED_PARTS / PARTS, rel=0.2)
    assert model.operating_point.false_alarm_rate <= 0.1

    def stop(text: str) -> None:
        if text.startswith(stopped_at):
            raise KeyboardInterrupt

    out = tmp_path / "stopped.pt"
    for stopped_at in (networks[1], networks[3]):  # noqa: B007 - `stop` reads it
        with pytest.raises(KeyboardInterrupt):
            train_model(ask(labelled, out, **settings), log=stop)
    assert train_model(ask(labelled, out, **settings))["digest"] == whole["digest"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "m.png", "m.pt", "stopped.png", "stopped.pt"
    ]  # fmt: skip


def test_in_parallel_the_same_is_fit(few: Whole, labelled: Path, tmp_path: Path) -> None:
    """In other processes, after a stop too, and whoever was stopped: all that is said is heard."""

    def stop(text: str) -> None:
        if text.startswith("all but part 2"):
            raise KeyboardInterrupt

    out = tmp_path / "beside.pt"
    with pytest.raises(KeyboardInterrupt):
        train_model(ask(labelled, out, **FEW), log=stop)
    said: list[str] = []
    made = train_model(ask(labelled, out, **FEW), Machine(workers=2), said.append)
    assert made["digest"] == few.digest
    assert sorted(said) == sorted(line for line in few.said if "all but part 1" not in line)
    assert not out.with_name("beside.pt.training").exists()


def test_what_fails_in_another_process_is_said_and_the_rest_is_kept(
    few: Whole, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "m.pt"
    state, read = tmp_path / "m.pt.training" / "all_but_part_2", network_jobs.read_state

    def read_and_block(path: Path, *given: Any) -> dict[str, Any]:
        content = read(path, *given)
        if path == state:
            state.mkdir(parents=True)  # the process that is to write it finds a folder
        return content

    with monkeypatch.context() as patch:
        patch.setattr(network_jobs, "read_state", read_and_block)
        with pytest.raises(IncompleteError, match=r"'all but part 2' failed: .*--workers 1"):
            train_model(ask(labelled, out, **FEW), Machine(workers=2))
    assert not out.exists()
    state.rmdir()
    assert train_model(ask(labelled, out, **FEW))["digest"] == few.digest


@pytest.mark.parametrize("detector", ["exact", "fuzzy", "dct", "binary", "multitask", "density"])
def test_every_detector_is_trained_by_name(detector: str, labelled: Path, tmp_path: Path) -> None:
    request = ask(labelled, tmp_path / "m.pt", detector=detector, training=ONE)
    made = train_model(request)
    model = checkpoint.load(tmp_path / "m.pt")
    assert (model.name, model.digest) == (detector, made["digest"])
    dataset = load_dataset(labelled)
    arithmetic = choose_arithmetic(model, "cpu")  # as a scan, by default
    scorer = build_scorer(model, prefiltered=False, arithmetic=arithmetic)
    scored = score_rasters(dataset.raster, scorer).score
    assert len(np.unique(scored)) > 1
    if detector == "exact":  # it knows what it learnt, and in parts it knew nothing
        assert np.array_equal(scored >= model.threshold, dataset.counts()[0] > 0)
        assert model.operating_point.recall == 0


@pytest.fixture(scope="module")
def teacher(labelled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows little and flags a fifth of the pictures, to be learnt from."""
    out = tmp_path_factory.mktemp("teacher") / "teacher.pt"
    train(labelled, out, epochs=1)
    model = checkpoint.load(out)
    scores = score_rasters(load_dataset(labelled).raster, build_scorer(model)).score
    point = replace(model.operating_point, threshold=float(np.quantile(scores, 0.8)))
    checkpoint.save(out, replace(model, operating_point=point))
    return out


def test_a_model_is_distilled_from_few_hotspots(
    labelled: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped or not, into one network that looks once, measured on what its double never saw."""
    monkeypatch.setattr(distil, "COPIES", 1)
    taught = {
        "training": ONE, "false_alarm_rate": 0.1, "distil": str(teacher),
    }  # fmt: skip
    said: list[str] = []
    whole = train_model(ask(labelled, tmp_path / "one.pt", **taught), log=said.append)
    assert [line.split("  ")[0] for line in said] == [distil.DOUBLE.name, distil.DISTILLED.name]
    one = checkpoint.load(tmp_path / "one.pt")
    assert one.rules is not None
    assert (one.rules.members, one.rules.ensemble_from) == (1, math.inf)
    assert one.provenance["distilled_from"] == checkpoint.load(teacher).digest
    judged = one.operating_point.clips / count_sure(labelled)
    assert judged == pytest.approx(SCORED_PARTS / PARTS, rel=0.2)
    assert one.operating_point.false_alarm_rate <= 0.1

    def stop(text: str) -> None:
        if text.startswith(f"{distil.DISTILLED.name}  "):
            raise KeyboardInterrupt

    out = tmp_path / "stopped.pt"
    with pytest.raises(KeyboardInterrupt):
        train_model(ask(labelled, out, **taught), log=stop)
    other, model = tmp_path / "other.pt", checkpoint.load(teacher)
    checkpoint.save(other, replace(model, provenance={}))
    with pytest.raises(RunMismatchError, match="left by a training with other data or settings"):
        train_model(ask(labelled, out, **(taught | {"distil": str(other)})))
    assert train_model(ask(labelled, out, **taught))["digest"] == whole["digest"]


def test_many_hotspots_are_distilled_with_their_margins(
    labelled: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distil, "COPIES", 1)
    made = train_model(
        ask(labelled, tmp_path / "one.pt", validation=(labelled,), distil=str(teacher))
    )
    model, dataset = checkpoint.load(tmp_path / "one.pt"), load_dataset(labelled)
    assert made["digest"] == model.digest
    assert model.detector().kinds == dataset.kinds
    assert model.operating_point.recall >= 0.99


def test_a_lesson_is_what_the_teacher_says_of_pictures_near_hotspots(
    labelled: Path, teacher: Path
) -> None:
    model = checkpoint.load(teacher)
    asked = distil.Teacher(build_scorer(model, prefiltered=False), model.threshold, seed=3)
    patterns = merge_datasets([load_dataset(labelled)])
    patterns = patterns.select(np.arange(len(patterns)) < 60)
    lesson = distil.write_lesson(patterns, asked)
    scores = score_rasters(lesson.rasters, asked.scorer).score
    old, known = len(patterns), patterns.hotspots > 0
    near = (scores[:old] >= NEAR * model.threshold) | known
    assert len(lesson.labels) == old + distil.COPIES * near.sum()
    np.testing.assert_array_equal(lesson.rasters[:old], patterns.raster)
    flagged = scores >= model.threshold
    np.testing.assert_array_equal(lesson.labels[old:], flagged[old:])
    np.testing.assert_array_equal(lesson.labels[:old], flagged[:old] | known)
    assert lesson.soft_targets is not None
    np.testing.assert_array_equal(lesson.soft_targets >= 0.5, flagged)
    assert lesson.margins is not None
    np.testing.assert_array_equal(
        lesson.margins[old:], asked.scorer.predict_margins(lesson.rasters[old:])
    )
    doubled = distil.join_lessons([lesson, lesson])
    assert doubled.soft_targets is not None
    np.testing.assert_array_equal(doubled.soft_targets, np.tile(lesson.soft_targets, 2))


def test_what_cannot_teach_or_be_taught_is_refused(
    labelled: Path, teacher: Path, tmp_path: Path
) -> None:
    taught = {"distil": str(teacher)}
    with pytest.raises(UsageError, match=r"detector .exact. cannot be taught; .*--detector atten"):
        train_model(ask(labelled, tmp_path / "m.pt", detector="exact", **taught))
    model = checkpoint.load(teacher)
    point = replace(model.operating_point, threshold=0.0)
    checkpoint.save(tmp_path / "all.pt", replace(model, operating_point=point))
    with pytest.raises(UsageError, match=r"flags all \d+ pictures at its threshold 0"):
        train_model(ask(labelled, tmp_path / "m.pt", distil=str(tmp_path / "all.pt")))
    other = copy_of(labelled, tmp_path / "other", process="arfi45")
    with pytest.raises(ModelMismatchError, match=r"has process krf130 but the datasets have arfi"):
        train_model(ask(labelled, tmp_path / "m.pt", datasets=(other,), **taught))


def copy_of(labelled: Path, out: Path, **attributes: object) -> Path:
    """Return a copy of a dataset with other attributes."""
    source = zarr.open_group(labelled, mode="r")
    copy = zarr.create_group(out, attributes={**dict(source.attrs), **attributes})
    for name in ("raster", "key", "pattern", "label"):
        copy.create_array(name, data=np.asarray(source[name]))
    seal_folder(out)
    return out


def test_datasets_that_do_not_go_together(labelled: Path, tmp_path: Path) -> None:
    dataset = load_dataset(labelled)
    other = asdict(dataset.spec) | {"pixel_nm": 20.0}
    for name, attribute in (
        ("spec", {"raster": other}),
        ("process", {"process": "arfi45"}),
        ("opc", {"provenance": dataset.provenance | {"opc": "model"}}),
    ):
        wrong = copy_of(labelled, tmp_path / name, **attribute)
        with pytest.raises(ModelMismatchError, match=f"datasets differ in {name}: "):
            train_model(ask(labelled, tmp_path / "m.pt", datasets=(labelled, wrong)))


def test_a_place_that_cannot_be_written_is_refused_before_training(
    labelled: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"m\.pt cannot be written: .*nowhere is not a directory"):
        train(labelled, tmp_path / "nowhere" / "m.pt")
    with pytest.raises(UsageError, match="no dataset to train on; make one with: hotscan label"):
        train_model(ask(labelled, tmp_path / "m.pt", datasets=()))


def test_only_training_clips_are_learnt_from(labelled: Path, tmp_path: Path) -> None:
    """The same weights as from a dataset without the test clips."""
    whole = load_dataset(labelled)
    rng = np.random.default_rng(2)
    role, part = (rng.integers(0, 2, len(whole)).astype(np.uint8) for _ in range(2))
    for protocol, kept in (("scan", part == 0), ("core", (part == 0) & (role == 0))):
        both = copy_of(labelled, tmp_path / f"{protocol}.both")
        alone = copy_of(labelled, tmp_path / f"{protocol}.alone")
        group = zarr.open_group(both)
        group.create_array("split", data=part)
        group.create_array("role", data=role)
        group = zarr.open_group(alone)
        for name in ("pattern", "label"):
            group.create_array(name, data=getattr(whole, name)[kept], overwrite=True)
        used, pattern = np.unique(whole.pattern[kept], return_inverse=True)
        group.create_array("pattern", data=pattern, overwrite=True)
        for name in ("raster", "key"):
            group.create_array(name, data=getattr(whole, name)[used], overwrite=True)
        seal_folder(both)
        seal_folder(alone)
        digests = {
            train_model(ask(path, tmp_path / "m.pt", protocol=protocol, training=ONE))["digest"]
            for path in (both, alone)
        }
        assert len(digests) == 1


@pytest.mark.parametrize(("hot", "apart"), [(1, 1), (8, 1), (9, 2), (17, 3)])
def test_validation_gets_its_share_of_the_hotspots(hot: int, apart: int) -> None:
    """An eighth, rounded up, wherever they lie among the patterns."""
    counts = np.zeros(1000, np.int64)
    counts[np.random.default_rng(hot).permutation(1000)[:hot]] = 1
    rasters = np.arange(1000, dtype=np.int64)[:, None].astype(np.uint8)
    training, checked = split_patterns(Patterns(rasters, counts, np.ones(1000, np.int64)))
    assert (checked.hotspots.sum(), len(checked.hotspots)) == (apart, apart + -(-(1000 - hot) // 8))
    assert training.hotspots.sum() + checked.hotspots.sum() == hot
    assert len(training.hotspots) + len(checked.hotspots) == 1000

"""Files that are not what they are given as: a message and an exit code, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.engine.storage.checksums import seal_folder
from stages.detector.models import checkpoint
from tests.support.small_scan import DENSE, TINY, Hotscan, SmallScan

Make = Callable[[Path, dict[str, Any]], Any]


def resave(change: Callable[[dict[str, Any]], Any]) -> Make:
    """Save a changed content, with the digest of what it then is where it can have one."""

    def make(path: Path, content: dict[str, Any]) -> None:
        change(content)
        try:
            content["digest"] = checkpoint._digest(to_arrays(content))
        except (KeyError, AttributeError, TypeError):
            content["digest"] = "00"
        torch.save(content, path)

    return make


def to_arrays(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: to_arrays(each) for name, each in value.items()}
    return value.numpy() if isinstance(value, torch.Tensor) else value


def change_about(**values: Any) -> Make:
    def change(content: dict[str, Any]) -> None:
        content["about"] = json.dumps(json.loads(content["about"]) | values)

    return resave(change)


def zip_of(entries: dict[str, bytes]) -> Make:
    def make(path: Path, content: dict[str, Any]) -> None:
        with zipfile.ZipFile(path, "w") as out:
            for name, data in entries.items():
                out.writestr(name, data)

    return make


def first(weights: dict[str, Any]) -> str:
    return next(name for name, value in weights.items() if value.dtype == torch.float32)


def set_weight(make: Callable[[torch.Tensor], Any]) -> Make:
    def change(content: dict[str, Any]) -> None:
        name = first(content["weights"])
        content["weights"][name] = make(content["weights"][name])

    return resave(change)


MODELS: dict[str, Make] = {
    "empty": lambda path, content: path.write_bytes(b""),
    "text": lambda path, content: path.write_text("weights"),
    "layout": lambda path, content: shutil.copy(TINY, path),
    "cut": lambda path, content: (torch.save(content, path), os.truncate(path, 5000)),
    "zip": zip_of({"readme.txt": b"hello"}),
    "empty zip": zip_of({}),
    "pickle in a zip": zip_of({"a/data.pkl": b"cos\nsystem\n(S'true'\ntR."}),
    "a tensor": lambda path, content: torch.save(torch.zeros(3), path),
    "a state dict": lambda path, content: torch.save(content["weights"], path),
    "a module": lambda path, content: torch.save(torch.nn.Linear(2, 2), path),
    "no weights": resave(lambda content: content.pop("weights")),
    "no about": resave(lambda content: content.pop("about")),
    "about is no JSON": resave(lambda content: content.update(about="{")),
    "about is a list": resave(lambda content: content.update(about="[]")),
    "about is a number": resave(lambda content: content.update(about=7)),
    "weights are a list": resave(lambda content: content.update(weights=[1, 2])),
    "weights are texts": resave(lambda content: content.update(weights={"a": "b"})),
    "raster": change_about(raster=[]),
    "raster of text": change_about(raster={"pixel_nm": "40", "clip_px": "64", "core_px": "32"}),
    "huge raster": change_about(raster={"pixel_nm": 40.0, "clip_px": 10**8, "core_px": 32}),
    "huge config": change_about(config={"stem": 10**6, "fine": [8 * 10**5], "coarse": [8, 8]}),
    "process": change_about(process=7),
    "process of lists": change_about(process_settings=[1]),
    "layers": change_about(layers=7),
    "point": change_about(operating_point={"threshold": "high"}),
    "rules": change_about(rules={"members": 3}),
    "detector": change_about(detector="oracle"),
    "prefilter": change_about(prefilter={"config": {}, "reject_below": 0, "lost": 0, "passed": 0}),
    "opc": change_about(opc=["model"]),
    "shape": set_weight(lambda weight: weight.flatten()[:1].clone()),
    "type": set_weight(lambda weight: weight.to(torch.float64)),
    "nan": set_weight(lambda weight: torch.full_like(weight, float("nan"))),
    "infinite": set_weight(lambda weight: torch.full_like(weight, float("inf"))),
    "strides": set_weight(lambda weight: torch.zeros(1).expand(10**12)),
    "sparse": set_weight(lambda weight: weight.flatten().to_sparse()),
    "complex": set_weight(lambda weight: weight.to(torch.complex64)),
}  # fmt: skip


@pytest.fixture
def content(small_scan: SmallScan) -> dict[str, Any]:
    """What a good checkpoint holds."""
    return dict(checkpoint._to_tensors(checkpoint._content(checkpoint.load(small_scan.model))))


@pytest.mark.parametrize("kind", MODELS)
def test_an_odd_model_is_a_message(
    kind: str, content: dict[str, Any], hotscan: Hotscan, labelled: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path = tmp_path / "model.pt"
    if kind == "strides":  # whose digest would take the memory that it claims
        monkeypatch.setattr(checkpoint, "_digest", lambda content: "00")
    MODELS[kind](path, content)
    monkeypatch.undo()
    scan = ("scan", DENSE, "-l", "68/20", "-o", tmp_path / "run", "--model", path, "--workers", 0)
    for command in (
        scan, ("evaluate", path, labelled), ("plan", DENSE, "-l", "68/20", "--model", path),
        ("models", "export", path, "--onnx", tmp_path / "a.onnx"),
        ("train", labelled, "-o", tmp_path / "b.pt", "--start", path),
    ):  # fmt: skip
        ended = hotscan(*command)
        assert (ended.code, ended.err.count("hotscan: ")) == (2, 1), (command, ended.err)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("settings", [{"colour": "red"}, {"name": 7}, {"corners": "all"}])
def test_a_model_of_an_odd_process_is_a_message(
    settings: dict[str, Any], content: dict[str, Any], hotscan: Hotscan, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    change_about(process_settings=settings)(path, content)
    ended = hotscan("scan", DENSE, "-l", "68/20", "-o", tmp_path / "run", "--model", path)
    assert (ended.code, ended.err.count("hotscan: ")) == (2, 1), ended.err


def change_dataset(**values: Any) -> Callable[[Path], Any]:
    def change(path: Path) -> None:
        about = json.loads((path / "zarr.json").read_text())
        about["attributes"] |= values
        (path / "zarr.json").write_text(json.dumps(about))

    return change


def change_array(name: str, **values: Any) -> Callable[[Path], Any]:
    def change(path: Path) -> None:
        file = path / name / "zarr.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


DATASETS: dict[str, Callable[[Path], Any]] = {
    "no metadata": lambda path: (path / "zarr.json").unlink(),
    "metadata is no JSON": lambda path: (path / "zarr.json").write_text("{"),
    "no attributes": lambda path: (path / "zarr.json").write_text(
        '{"zarr_format": 3, "node_type": "group"}'),
    "raster": change_dataset(raster=7),
    "size": change_dataset(raster={"pixel_nm": 40.0, "clip_px": 32, "core_px": 16, "layers": 1}),
    "layers": change_dataset(layers=None),
    "provenance": change_dataset(provenance=7),
    "type": change_array("label", data_type="float64"),
    "shape": change_array("key", shape=[3]),
    "huge": change_array("raster", shape=[10**9, 1, 64, 64]),
    "more clips": change_array("pattern", shape=[10**6]),
    "cut array": lambda path: [os.truncate(chunk, 3) for chunk in (path / "key/c").rglob("0")
                               if chunk.is_file()],
    "no array": lambda path: shutil.rmtree(path / "label"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DATASETS)
def test_an_odd_dataset_is_a_message(
    kind: str, hotscan: Hotscan, labelled: Path, small_scan: SmallScan, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(labelled, tmp_path / "dataset"))
    DATASETS[kind](path)
    seal_folder(path)  # as who made it so would
    for command in (
        ("evaluate", small_scan.model, path), ("train", path, "-o", tmp_path / "b.pt"),
    ):  # fmt: skip
        ended = hotscan(*command)
        assert (ended.code, ended.err.count("hotscan: ")) == (2, 1), (command, ended.err)
        assert f"{path} holds no finished dataset (" in ended.err


def test_a_link_in_a_dataset_is_not_followed(
    hotscan: Hotscan, labelled: Path, small_scan: SmallScan, tmp_path: Path
) -> None:
    path = Path(shutil.copytree(labelled, tmp_path / "dataset"))
    shutil.move(path / "label", tmp_path / "label")
    (path / "label").symlink_to(tmp_path / "label")
    ended = hotscan("evaluate", small_scan.model, path)
    assert (ended.code, "label is a symbolic link" in ended.err) == (4, True)


def test_pictures_that_a_dataset_does_not_have(
    hotscan: Hotscan, labelled: Path, small_scan: SmallScan, tmp_path: Path
) -> None:
    import numpy as np
    import zarr

    path = Path(shutil.copytree(labelled, tmp_path / "dataset"))
    array = zarr.open_group(path, mode="r+")["pattern"]
    assert isinstance(array, zarr.Array)
    for value in (10**9, -1):
        array[0] = np.int64(value)
        seal_folder(path)
        ended = hotscan("evaluate", small_scan.model, path)
        assert (ended.code, "pattern is not in [0, " in ended.err) == (2, True)


TEXTS = [b"\xff\xfe\x00", b"\x00", b"[scores]\nthreshold = 1e999", b"= 7", b"x = 1\n" * 3]


@pytest.mark.parametrize("text", TEXTS)
def test_odd_settings_are_a_message(text: bytes, hotscan: Hotscan, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(text)
    for command in (
        ("scan", DENSE, "-l", "68/20", "-o", tmp_path / "run", "--config", tmp_path / "a.toml"),
        ("label", DENSE, "-l", "68/20", "-o", tmp_path / "d", "--process", tmp_path / "a.toml"),
        ("dataset", "iccad2016", TINY, tmp_path / "a.toml", "-o", tmp_path / "d"),
    ):  # fmt: skip
        ended = hotscan(*command)
        code = 3 if command[0] == "dataset" else 2  # its list is part of the layout
        assert (ended.code, ended.err.count("hotscan: ")) == (code, 1), (command, ended.err)

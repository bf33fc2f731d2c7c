"""Print models: read back as written, refused when changed, found by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.passes.model_file import find_model
from pipeline.passes.print_model import (
    PrintModel,
    make_process_model,
    read_print_model,
    write_print_model,
)
from stages.detector.models import checkpoint
from stages.errors import ConfigError, UsageError
from stages.scores import build_scorer, score_rasters
from tests.support.small_scan import write_model


def draw_line(width_px: int) -> np.ndarray:
    picture = np.zeros((1, 1, 64, 64), np.uint8)
    picture[..., 32 - width_px // 2 : 32 + width_px - width_px // 2] = 255
    return picture


def test_a_process_alone_flags_what_does_not_print() -> None:
    model = find_model("process:krf130")
    pictures = np.concatenate([draw_line(2), draw_line(12)])
    narrow, wide = score_rasters(pictures, build_scorer(model)).score
    assert narrow > model.threshold > wide
    assert model.raster.pixel_nm == 40.0


def test_a_model_is_read_as_written(tmp_path: Path) -> None:
    model = make_process_model("krf130")
    write_print_model(tmp_path / "m.json", model)
    back = find_model(str(tmp_path / "m.json"))
    assert isinstance(back, PrintModel)
    assert back.digest == model.digest
    pictures = np.concatenate([draw_line(2), draw_line(3)])
    first, second = (score_rasters(pictures, build_scorer(each)).score for each in (model, back))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("key", "value"),
    [("bias", 2.0), ("kind", "other"), ("rises", [1.0]), ("raster", {}), ("threshold", 0.1)],
)
def test_a_changed_file_is_refused(tmp_path: Path, key: str, value: object) -> None:
    file = tmp_path / "m.json"
    write_print_model(file, make_process_model("krf130"))
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(UsageError, match=r"m\.json cannot be read as a model"):
        read_print_model(file)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        find_model(str(tmp_path / "none.json"))
    with pytest.raises(ConfigError):
        find_model("process:none")


def test_the_model_that_it_began_with_is_kept_in_it(tmp_path: Path) -> None:
    write_model(tmp_path)
    began = tmp_path / "tiny.pt"
    base = checkpoint.load(began)
    model = replace(
        make_process_model("krf130"), raster=base.raster, base=str(began),
        base_digest=base.digest, packed=began.read_bytes(),
    )  # fmt: skip
    write_print_model(tmp_path / "m.json", model)
    began.unlink()
    back = read_print_model(tmp_path / "m.json")
    assert back.make_features().detector is not None
    without = replace(back, packed=b"")
    assert without.digest == back.digest
    with pytest.raises(UsageError, match="neither a file nor a shipped model"):
        without.make_features()
    damaged = replace(back, packed=bytes(byte ^ 1 for byte in back.packed))
    with pytest.raises(UsageError, match=r"tiny\.pt"):
        damaged.make_features()

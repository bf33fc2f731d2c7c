"""The coarse print: narrower is worse, whichever way a picture is turned."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stages.contracts import Bytes, RasterSpec
from stages.errors import ConfigError
from stages.lithography.coarse_print import FAR, FREE, MARGINS, make_optics, measure_pictures
from stages.lithography.process import KernelFile, KernelSet, load_process

SPEC = RasterSpec(pixel_nm=40.0, clip_px=64, core_px=32, layers=1)
PROCESS = load_process("krf130")


def draw_lines(width_px: float, space_px: float, end: int | None = None) -> Bytes:
    """Vertical lines through the middle, up to a row where they end."""
    fine, pitch = 20, width_px + space_px
    x = (np.arange(64 * fine) + 0.5) / fine - 32
    line = (np.abs((x + pitch / 2) % pitch - pitch / 2) < width_px / 2).reshape(64, fine).mean(1)
    picture = np.tile(line, (64, 1))
    if end is not None:
        picture[end:] = 0
    return np.round(255 * picture).astype(np.uint8)[None, None]


def measure(picture: Bytes) -> dict[str, float]:
    found = measure_pictures(picture, make_optics(PROCESS, SPEC))
    return dict(zip(MARGINS, found[0].tolist(), strict=True))


def test_the_anchor_prints_and_a_narrow_line_does_not() -> None:
    shares = [measure(draw_lines(width, 5.25))["pinch"] for width in (3.5, 3.0, 2.5)]
    assert 0.7 < shares[0] < 1.1
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < PROCESS.limits.pinch_share


def test_a_narrow_space_closes() -> None:
    shares = [measure(draw_lines(8.0, space))["space"] for space in (5.0, 3.5, 2.5)]
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < PROCESS.limits.space_share < shares[0]


def test_what_is_not_there_is_not_measured() -> None:
    nothing = measure(np.zeros((1, 1, 64, 64), np.uint8))
    assert nothing["pinch"] == nothing["space"] == pytest.approx(FREE)
    assert nothing["line_end"] == FAR
    assert measure(draw_lines(3.5, 20.0))["line_end"] == FAR
    assert measure(draw_lines(4.0, 20.0, end=34))["line_end"] > 0  # pulled back


def test_a_turned_picture_has_the_same_margins() -> None:
    picture = draw_lines(3.0, 4.0, end=34)
    each = [picture, picture[:, :, ::-1], picture[:, :, :, ::-1], picture.swapaxes(2, 3)]
    found = measure_pictures(np.concatenate(each), make_optics(PROCESS, SPEC))
    assert np.allclose(found, found[0], atol=2e-3)


def test_a_picture_does_not_depend_on_its_batch() -> None:
    pictures = np.concatenate([draw_lines(3.0, 4.0), draw_lines(2.5, 6.0)])
    optics = make_optics(PROCESS, SPEC)
    alone = np.concatenate([measure_pictures(each[None], optics) for each in pictures])
    assert np.array_equal(measure_pictures(pictures, optics), alone)


def test_kernels_of_a_file_are_refused() -> None:
    sets = (KernelSet(0.0, "k", "w"), KernelSet(120.0, "k", "w"))
    foreign = replace(PROCESS, kernels=KernelFile("f.npz", 2048.0, sets))
    with pytest.raises(ConfigError, match="cannot be imaged; give a model"):
        make_optics(foreign, SPEC)

"""The threshold prints the anchor to size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from stages.lithography.optics import field_of, image, kernels, mask_spectrum
from stages.lithography.process import Anchor, Process, load_process
from stages.lithography.resist import threshold

SHIPPED = [load_process("krf130"), load_process("arfi45")]


def printed_nm(process: Process, line_nm: float, space_nm: float, dose: float = 1.0) -> float:
    """Width of a printed line among equal ones, each wholly inside the field."""
    lines = 12
    pitch_nm = line_nm + space_nm
    field = field_of(process, lines * pitch_nm)
    x = np.arange(lines) * pitch_nm + space_nm / 2
    rects = np.stack([x, 0 * x, x + line_nm, 0 * x + field.side_nm], axis=1)
    spectrum = mask_spectrum(torch.from_numpy(rects[None]), field)
    row = image(spectrum, kernels(process, 0.0, field), field)[0, 0].numpy().astype(np.float64)
    fine = 4096
    harmonics = np.fft.rfft(row, norm="forward")
    profile = np.fft.irfft(harmonics, fine * lines, norm="forward") * dose
    return float((profile > threshold(process)).sum() / lines / fine * pitch_nm)


@pytest.mark.parametrize("process", SHIPPED, ids=lambda process: process.name)
def test_the_anchor_prints_to_size(process: Process) -> None:
    line_nm, space_nm = process.anchor.line_nm, process.anchor.space_nm
    assert 0 < threshold(process) < 1
    # The kernels that are left out differ with the field, by some 0.001 of the clear field.
    assert abs(printed_nm(process, line_nm, space_nm) - line_nm) < 0.5


@pytest.mark.parametrize("process", SHIPPED, ids=lambda process: process.name)
def test_another_anchor_prints_to_size_too(process: Process) -> None:
    wide = replace(process, anchor=Anchor(2.0 * process.min_width_nm, 3.0 * process.min_width_nm))
    width_nm = printed_nm(wide, wide.anchor.line_nm, wide.anchor.space_nm)
    assert abs(width_nm - wide.anchor.line_nm) < 0.5
    assert threshold(wide) != threshold(process)


@pytest.mark.parametrize("process", SHIPPED, ids=lambda process: process.name)
def test_more_light_prints_wider_lines(process: Process) -> None:
    line_nm, space_nm = process.anchor.line_nm, process.anchor.space_nm
    under, nominal, over = (printed_nm(process, line_nm, space_nm, dose) for dose in (0.9, 1, 1.1))
    assert under < nominal - 1 < over - 2

"""Process files: the shipped ones load, and what is wrong with another is said by name."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from stages.errors import ConfigError
from stages.lithography.process import SHIPPED, Source, SourceShape, load_process

NAMES = sorted(path.stem for path in SHIPPED.glob("*.toml"))
KRF = (SHIPPED / "krf130.toml").read_text(encoding="utf-8")


def test_the_two_processes_are_shipped() -> None:
    assert {"krf130", "arfi45"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_process_loads(name: str) -> None:
    process = load_process(name)
    assert process.name == name
    assert process == load_process(SHIPPED / f"{name}.toml")
    assert (process.corners[0].dose, process.corners[0].defocus_nm) == (1, 0)
    pitch_nm = process.min_width_nm + process.min_space_nm
    shortest_nm = process.wavelength_nm / (process.na * (1 + process.source.sigma_out))
    assert pitch_nm > shortest_nm, "the densest allowed lines would not print at all"


def test_an_unknown_name_lists_the_shipped() -> None:
    with pytest.raises(ConfigError, match=r"krf193.*arfi45, krf130"):
        load_process("krf193")


def test_a_path_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=re.escape("nowhere/mine.toml")):
        load_process("nowhere/mine.toml")


WRONG = [
    # what is put in the place of what, and what the error must say
    ("na = 0.70", "nA = 0.70", "unknown key nA; did you mean na?"),
    ("epe_nm = 38", "epe = 38", "unknown key limits.epe; did you mean epe_nm?"),
    ("dose = 1.04", "doze = 1.04", "unknown key corners[1].doze; did you mean dose?"),
    ("na = 0.70", 'na = "0.70"', "na is '0.70'; it must be a number"),
    ("na = 0.70", "na = true", "na is True; it must be a number"),
    ('name = "krf130"', "name = 130", "name is 130; it must be text"),
    ("na = 0.70", "na = 1.0", "na is 1.0; it must be under refractive_index"),
    ("na = 0.70", "na = nan", "na is nan; it must be over 0"),
    ("wavelength_nm = 248", "wavelength_nm = 0", "wavelength_nm is 0.0; it must be over 0"),
    ("sigma_out = 0.75", "sigma_out = 1.1", "source.sigma_out is 1.1; it must be over 0, at most"),
    ("sigma_in = 0.45", "sigma_in = 0.75", "source.sigma_in is 0.75; it must be from 0 to"),
    ('shape = "annular"', 'shape = "ring"', "source.shape is ring; it must be a known source"),
    ('shape = "annular"', 'shape = "circular"', "0 for a circular source"),
    ("pinch_share = 0", "pinch_share = 1", "limits.pinch_share is 1."),
    ("dose = 0.96", "dose = -1", "corners[2].dose is -1.0; it must be over 0"),
    ('name = "over"', 'name = "under"', "it must be of different names"),
    ("[sampling]", "[other]", "unknown key other"),
    ("na = 0.70", "", "na is missing; add it"),
    ("line_end_nm = 180", "", "sampling.line_end_nm is missing; add it"),
    ("na = 0.70", "na = ", "is not TOML"),
]


@pytest.mark.parametrize(("before", "after", "said"), WRONG, ids=[row[2] for row in WRONG])
def test_what_is_wrong_is_said_by_name(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert KRF.count(before) == 1
    path = tmp_path / "mine.toml"
    path.write_text(KRF.replace(before, after), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_process(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(re.sub(r"\[anchor\][^\[]*", "", KRF), encoding="utf-8")
    with pytest.raises(ConfigError, match="anchor is missing; add it"):
        load_process(path)


def test_a_table_in_place_of_an_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(re.sub(r"\[\[corners\]\][^\[]*", "", KRF) + "[corners]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"corners is {}; it must be an array of tables"):
        load_process(path)


SYMMETRIES: list[tuple[SourceShape, float, int]] = [
    ("circular", 0, 8),
    ("annular", 30, 8),
    ("quasar", 0, 8),
    ("quasar", 45, 8),
    ("quasar", 30, 1),  # quarter turns remain, but only mirrors and no turn are asked for
    ("dipole", 0, 4),
    ("dipole", 90, 4),
    ("dipole", 45, 1),
]


@pytest.mark.parametrize(("shape", "axis_deg", "expected"), SYMMETRIES)
def test_symmetries_of_the_source(shape: SourceShape, axis_deg: float, expected: int) -> None:
    sigma_in = 0 if shape == "circular" else 0.5
    process = replace(
        load_process("krf130"), source=Source(shape, 0.8, sigma_in, axis_deg=axis_deg)
    )
    assert process.symmetries == expected

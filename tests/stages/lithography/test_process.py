"""Process files: the shipped ones load, and what is wrong with another is said by name."""

from __future__ import annotations

import json
import pickle
import re
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest

from stages.detector.models.checkpoint import find, load, shipped
from stages.errors import ConfigError
from stages.lithography.optics.kernels import compute_kernels, make_field, read_kernels
from stages.lithography.process import (
    SHIPPED,
    Polarization,
    Process,
    Resist,
    Source,
    SourceShape,
    load_process,
    process_of,
)

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
    with pytest.raises(ConfigError, match=r"krf193.*arfi45, arfi45-via, krf130"):
        load_process("krf193")


def test_a_path_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=re.escape("nowhere/mine.toml")):
        load_process("nowhere/mine.toml")


WRONG = [
    # what is put in the place of what, and what the error must say
    ("na = 0.70", "nA = 0.70", "nA is not a setting; did you mean na?"),
    ("epe_nm = 38", "epe = 38", "limits.epe is not a setting; did you mean epe_nm?"),
    ("dose = 1.04", "doze = 1.04", "corners[1].doze is not a setting; did you mean dose?"),
    ("na = 0.70", 'na = "0.70"', "na is '0.70'; allowed: a valid number"),
    ("na = 0.70", "na = true", "na is True; allowed: a valid number"),
    ('name = "krf130"', "name = 130", "name is 130; allowed: a valid string"),
    ("na = 0.70", "na = 1.0", "na is 1.0; allowed: less than refractive_index"),
    ("na = 0.70", "na = nan", "na is nan; allowed: a finite number"),
    ("na = 0.70", "na = inf", "na is inf; allowed: a finite number"),
    ("wavelength_nm = 248", "wavelength_nm = 0", "wavelength_nm is 0; allowed: greater than 0"),
    (
        "sigma_out = 0.75",
        "sigma_out = 1.1",
        "source.sigma_out is 1.1; allowed: less than or eq",
    ),
    ("sigma_in = 0.45", "sigma_in = 0.75", "source.sigma_in is 0.75; allowed: less than sigma_out"),
    (
        'shape = "annular"',
        'shape = "ring"',
        "source.shape is 'ring'; allowed: 'circular',",
    ),
    (
        'shape = "annular"',
        'shape = "circular"',
        "sigma_in is 0.45; allowed: 0 for a circ",
    ),
    ("pinch_share = 0", "pinch_share = 1", "limits.pinch_share is 1.69; allowed: less than 1"),
    ("dose = 0.96", "dose = -1", "corners[2].dose is -1; allowed: greater than 0"),
    ('name = "over"', 'name = "under"', "allowed: different names"),
    ("[sampling]", "[other]", "other is not a setting; known are name, wavelength_nm"),
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
    path.write_text(re.sub(r"\[limits\][^\[]*", "", KRF), encoding="utf-8")
    with pytest.raises(ConfigError, match="limits is missing; add it"):
        load_process(path)


RESIST = "[resist]\nthreshold = 0.3\n\n"
ANCHOR = re.search(r"\[anchor\][^\[]*", KRF)
assert ANCHOR
THRESHOLDS = [(RESIST + ANCHOR[0], 2), ("", 0), ("[resist]\ndiffusion_nm = 20\n", 0)]


@pytest.mark.parametrize(("tables", "given"), THRESHOLDS, ids=["both", "none", "diffusion alone"])
def test_the_threshold_is_given_in_one_way(tmp_path: Path, tables: str, given: int) -> None:
    assert ANCHOR
    path = tmp_path / "mine.toml"
    path.write_text(KRF.replace(ANCHOR[0], tables), encoding="utf-8")
    with pytest.raises(ConfigError, match=rf"anchor and resist\.threshold is {given} of the two"):
        load_process(path)
    path.write_text(KRF.replace(ANCHOR[0], RESIST), encoding="utf-8")
    assert load_process(path).resist.threshold == 0.3


OPC = """
[opc]
iterations = 8
damping = 0.5
fragment_nm = 120
corner_nm = 60
max_move_nm = 50
min_mask_width_nm = 80
min_mask_space_nm = 80
"""
WRONG_OPC = [
    ("iterations = 8", "iterations = 8.5", "opc.iterations is 8.5; allowed: a valid integer"),
    ("iterations = 8", "iterations = inf", "opc.iterations is inf; allowed: a valid integer"),
    ("iterations = 8", "iterations = 0", "opc.iterations is 0; allowed: greater than 0"),
    ("damping = 0.5", "damping = 1.5", "opc.damping is 1.5; allowed: less than or equal to 1"),
    ("fragment_nm = 120", "", "opc.fragment_nm is missing; add it"),
    (
        "corner_nm = 60",
        "corner_nm = 60\nbar_nm = -1",
        "opc.bar_nm is -1; allowed: greater than or",
    ),
]


@pytest.mark.parametrize(("before", "after", "said"), WRONG_OPC, ids=[row[1] for row in WRONG_OPC])
def test_what_is_wrong_with_opc_is_said(tmp_path: Path, before: str, after: str, said: str) -> None:
    bare = re.sub(r"\[opc\][^\[]*", "", KRF)
    path = tmp_path / "mine.toml"
    path.write_text(bare + OPC, encoding="utf-8")
    assert load_process(path).opc is not None
    path.write_text(bare + OPC.replace(before, after), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_process(path)
    assert said in str(caught.value)


def test_a_table_in_place_of_an_array_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(re.sub(r"\[\[corners\]\][^\[]*", "", KRF) + "[corners]\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"corners is {}; allowed: an array"):
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


Rows = tuple[tuple[float, ...], ...]
MAPS: list[tuple[str, Rows, int]] = [
    # what it shows, the map, symmetries of the square that are promised
    ("even", ((1, 1), (1, 1)), 8),
    ("four poles on the diagonals", ((2, 0, 2), (0, 0, 0), (2, 0, 2)), 8),
    ("two poles along x", ((0, 0, 0), (1, 0, 1), (0, 0, 0)), 4),
    ("two poles on a diagonal", ((0, 0, 1), (0, 0, 0), (1, 0, 0)), 1),
    ("a pinwheel: turns alone", ((1, 2, 0), (0, 0, 2), (2, 0, 1)), 1),
    ("off the centre, but mirrored along x", ((0, 0, 0), (0, 0, 1), (0, 0, 0)), 1),
    ("one corner", ((1, 0), (0, 0)), 1),
]


@pytest.mark.parametrize(("rows", "expected"), [row[1:] for row in MAPS], ids=[m[0] for m in MAPS])
def test_symmetries_of_a_map(rows: Rows, expected: int) -> None:
    process = replace(load_process("krf130"), source=Source("map", 0.8, map=rows))
    assert process.symmetries == expected
    drawn = np.array(rows)
    assert process.even_in_focus == np.array_equal(drawn, np.rot90(drawn, 2))


WRONG_MAPS = [
    ("[[1, 0], [0]]", "source.map is of sides [1, 2]; allowed: a square"),
    ("[[1, 0]]", "source.map is of sides [1, 2]; allowed: a square"),
    ("[[1, -0.5], [0, 0]]", "source.map[0][1] is -0.5; allowed: greater than or equal to 0"),
    ("[[0, 0], [0, 0]]", "source.map is dark; allowed: light somewhere"),
    ("[]", "source.map is (); allowed: with shape map only"),
    ("[[1, true], [0, 0]]", "source.map[0][1] is True; allowed: a valid number"),
    ("[1, 0]", "source.map[0] is 1; allowed: an array"),
]


@pytest.mark.parametrize(("rows", "said"), WRONG_MAPS, ids=[row[0] for row in WRONG_MAPS])
def test_a_wrong_map_is_refused_by_name(tmp_path: Path, rows: str, said: str) -> None:
    mapped = KRF.replace('shape = "annular"', f'shape = "map"\nmap = {rows}')
    path = tmp_path / "mine.toml"
    path.write_text(mapped.replace("sigma_in = 0.45\n", ""), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_process(path)
    assert said in str(caught.value)


def test_a_map_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"map is .* with shape map only"):
        Source("annular", 0.8, 0.5, map=((1.0,),))


def test_a_copy_in_another_process_is_equal() -> None:
    """Workers get the process pickled, and key their caches with it."""
    process = load_process("krf130")
    copy = pickle.loads(pickle.dumps(process))
    assert (copy, hash(copy)) == (process, hash(process))
    with pytest.raises(FrozenInstanceError):
        copy.na = 0.5


def test_settings_of_a_descent_read_back_unchanged() -> None:
    process = load_process("arfi45")
    assert process.opc is not None
    for opc in (process.opc, replace(process.opc, descent=40, band_weight=0.7)):
        changed = replace(process, opc=opc)
        assert process_of(changed.as_dict()) == changed
    assert process_of(process.as_dict()) != changed


def test_settings_without_a_tail_are_those_of_before() -> None:
    process = load_process("krf130")
    assert set(process.as_dict()["resist"]) == {"diffusion_nm", "threshold"}
    tail = replace(process, resist=replace(process.resist, tail_share=-0.1, tail_nm=90.0))
    assert process_of(tail.as_dict()) == tail


@pytest.mark.parametrize(
    ("share", "width_nm", "message"),
    [
        (0.1, 0.0, "tail_nm is 0.0; allowed: over 0 with a tail_share"),
        (0.0, 50.0, "tail_nm is 50.0; allowed: over 0 with a tail_share"),
        (0.1, 400.0, "tail_nm is 400.0; allowed: at most wavelength / NA, 354"),
        (0.6, 50.0, "tail_share is 0.6"),
    ],
)
def test_a_tail_out_of_range_is_refused(share: float, width_nm: float, message: str) -> None:
    about = load_process("krf130").as_dict()
    about["resist"] |= {"tail_share": share, "tail_nm": width_nm}
    with pytest.raises(ConfigError, match=message):
        process_of(about)


def test_light_is_vector_where_the_resist_has_an_index(tmp_path: Path) -> None:
    process = load_process("arfi45")
    assert process.is_vector
    assert not load_process("krf130").is_vector
    old = process.as_dict()
    del old["resist"]["refractive_index"], old["source"]["polarization"]
    assert process_of(old).as_dict() == old, "settings of scalar light read back unchanged"
    assert not process_of(old).is_vector
    text = (SHIPPED / "arfi45.toml").read_text(encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("refractive_index = 1.7", ""), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"refractive_index is 0; allowed: over 0.* na is 1.35"):
        load_process(path)
    with pytest.raises(ValueError, match=r"resist.refractive_index is 1.3; allowed: .*than na"):
        replace(process, resist=Resist(refractive_index=1.3))
    with pytest.raises(ValueError, match=r"source.polarization is te; allowed: unpolarized"):
        replace(process, resist=Resist(), source=replace(process.source, polarization="te"))


@pytest.mark.parametrize(
    ("polarization", "symmetries"), [("unpolarized", 8), ("te", 8), ("tm", 8), ("x", 4), ("y", 4)]
)
def test_light_of_one_direction_exchanges_no_axes(
    polarization: Polarization, symmetries: int
) -> None:
    process = load_process("arfi45")
    source = replace(process.source, polarization=polarization)
    assert replace(process, source=source).symmetries == symmetries
    assert replace(process, source=source).even_in_focus
    tilted = replace(source, shape="dipole", axis_deg=30.0)
    assert replace(process, source=tilted).symmetries == 1


@pytest.mark.parametrize("name", shipped())
def test_the_settings_in_a_shipped_model_read_back_unchanged(name: str) -> None:
    settings = load(find(name)).process_settings
    read_back = process_of(settings).as_dict()
    assert json.dumps(read_back, sort_keys=True) == json.dumps(settings, sort_keys=True)


@pytest.mark.parametrize("name", NAMES)
def test_plain_values_and_back(name: str) -> None:
    process = load_process(name)
    assert process_of(process.as_dict()) == process


KERNELS = """
[kernels]
file = "{file}"
period_nm = 3000

[[kernels.sets]]
defocus_nm = 0
kernels = "focus"
weights = "scale"
"""
AT_FOCUS = KRF.replace("defocus_nm = 120", "defocus_nm = 0")


def with_kernels(folder: Path, text: str = AT_FOCUS, **changed: np.ndarray) -> Path:
    """Write a process with kernels of a file, 3 of band 2."""
    rng = np.random.default_rng(0)
    waves = (rng.normal(size=(3, 5, 5)) + 1j * rng.normal(size=(3, 5, 5))).astype(np.complex64)
    np.savez(folder / "theirs.npz", **{"focus": waves, "scale": np.array([9.0, 4, 1])} | changed)
    path = folder / "mine.toml"
    path.write_text(text + KERNELS.format(file="theirs.npz"), encoding="utf-8")
    return path


def test_kernels_of_a_file_take_the_place_of_the_optics(tmp_path: Path) -> None:
    process = load_process(with_kernels(tmp_path))
    field = make_field(process)
    assert (field.side_nm, field.band) == (3000, 2)
    assert field.pixels >= 2 * (2 * field.band) + 1, "the image's band is twice the kernels'"
    optics = compute_kernels(process, 0.0, field)
    with np.load(tmp_path / "theirs.npz") as file:
        expected = np.sqrt(file["scale"])[:, None, None] * file["focus"]
    np.testing.assert_allclose(optics.waves.numpy(), expected, rtol=1e-6)
    assert not optics.rest.any()
    assert (process.symmetries, process.even_in_focus) == (1, False)
    with pytest.raises(ConfigError, match=r"2000 nm is asked for.*theirs.npz is for 3000 nm"):
        make_field(process, 2000.0)


def refusal(process: Process) -> str:
    assert process.kernels is not None
    with pytest.raises(ConfigError) as caught:
        read_kernels(process.kernels, 0.0, make_field(process))
    return str(caught.value)


def test_kernels_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    process = load_process(with_kernels(tmp_path, scale=np.ones(4)))
    assert "focus is (3, 5, 5) and scale (4,); they must be (k, 5, 5) and (k,)" in refusal(process)
    process = load_process(with_kernels(tmp_path, focus=np.ones((3, 5, 7))))
    assert "focus is (3, 5, 7)" in refusal(process)
    before = load_process(with_kernels(tmp_path))
    load_process(with_kernels(tmp_path, scale=np.array([9.0, 4, 2])))
    assert "theirs.npz has changed; start again with the new file" in refusal(before)
    text = AT_FOCUS.replace("defocus_nm = 0", "defocus_nm = 50")
    with pytest.raises(ConfigError, match=r"defocus_nm of corner nominal is 50.*set of kernels"):
        load_process(with_kernels(tmp_path, text))


def test_a_file_of_kernels_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = with_kernels(tmp_path)
    (tmp_path / "theirs.npz").unlink()
    with pytest.raises(ConfigError, match=r"theirs\.npz cannot be read: No such file"):
        load_process(path)

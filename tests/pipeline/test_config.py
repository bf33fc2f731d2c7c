from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pipeline.config import (
    SMALL_LAYOUT_BYTES,
    Resources,
    ScanConfig,
    as_dict,
    load_config,
    load_resources,
)
from stages.errors import ConfigError

EVERYTHING = """
[layout]
cell = "top"
layers = ["68/20", "met2+li1"]
exclude = ["81/4"]
tech = "sky130A"
all_metals = true
roi_um = [0, 10.5, 200, 300]
strict = true
[reader]
memory_gb = 2.5
unpacked_gb = 3.5
extent_mm = 40
shapes_per_um2 = 900
seconds = 60
[tiles]
size_um = 50
shared = false
[clips]
mode = "sites"
space_nm = 140
width_nm = 130.5
tip_to_tip_nm = 200
line_end_to_side_nm = 180
line_end_nm = 300
[raster]
pixel_nm = 20
clip_nm = 2560
core_nm = 1280
[scores]
model = "models/mine.pt"
threshold = 0.25
shard_patterns = 128
arithmetic = "float32"
prefilter = false
device = "cuda:1"
models = {met2 = "other.pt"}
[confirm]
enabled = true
opc = "model"
confident = false
batch_windows = 7
[audit]
size = "600s"
seed = 3
[classes]
edge_tolerance_nm = 4
area_match = 0.95
shift_nm = 0
radius_nm = 300
[levels]
always_first = ["bridge"]
first_severity = 0.5
second_severity = 0.25
first_score = 0.95
second_score = 0.75
[certify]
recall = 0.99
within = 0.01
budget = 0.5
seed = 3
[fix]
enabled = true
grid_nm = 1
width_nm = 130
space_nm = 135
vias = ["67/44"]
enclosure_nm = 40
[report]
top = 5
contours = 9
waivers = "waivers.toml"
[markers]
layer = 900
"""


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    path = tmp_path / "scan.toml"
    path.write_text(EVERYTHING)
    return path


def test_every_setting_is_read(everything: Path) -> None:
    config, default = as_dict(load_config(everything)), as_dict(ScanConfig())
    unchanged = [
        (table, key)
        for table, settings in default.items()
        for key, value in settings.items()
        if config[table][key] == value
    ]
    # Mode "sites" has no stride; names are kept in place of where they are from.
    assert sorted(unchanged) == [("clips", "stride_nm"), ("layout", "lyp"), ("layout", "tech")]
    assert config["layout"]["layers"] == ["68/20", "69/20+67/20"]
    assert config["layout"]["names"]["met1"] == "68/20"
    assert config["layout"]["roi_um"] == [0, 10.5, 200, 300]
    assert config["clips"]["width_nm"] == 130.5
    assert config["scores"]["device"] == "cuda:1"


def test_overrides_lie_over_the_file(everything: Path) -> None:
    config = load_config(
        everything, {"scores": {"threshold": 0.75, "model": None}, "report": {"top": 7}}
    )
    assert config.scores.threshold == 0.75
    assert config.scores.model == "models/mine.pt"  # None is "not given"
    assert config.report.top == 7


def test_a_saved_config_gives_the_same_settings(everything: Path) -> None:
    for config in (load_config(everything), ScanConfig()):
        assert load_config(None, json.loads(json.dumps(as_dict(config)))) == config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        # unknown names, with the nearest
        ({"layout": {"layer": []}}, r"\[layout\] layer is not a setting; did you mean layers\?"),
        ({"score": {}}, r"score is not a setting; did you mean scores\?"),
        ({"report": {"threshold": 1}}, r"did you mean \[scores\] threshold\?"),
        ({"report": {"zzz": 1}}, r"\[report\] zzz is not a setting; known are top"),
        # wrong types: nothing is converted
        ({"tiles": {"size_um": "100"}}, r"\[tiles\] size_um is '100'; allowed: a valid number"),
        ({"tiles": {"size_um": True}}, r"\[tiles\] size_um is True; allowed: a valid number"),
        ({"report": {"top": 3.5}}, r"\[report\] top is 3.5; allowed: a valid integer"),
        ({"layout": {"layers": "68/20"}}, r"\[layout\] layers is '68/20'; allowed: an array"),
        # out of range
        ({"tiles": {"size_um": 0}}, r"\[tiles\] size_um is 0; allowed: greater than 0"),
        ({"tiles": {"size_um": float("nan")}}, r"\[tiles\] size_um is nan; allowed: a finite"),
        ({"scores": {"threshold": 1.5}}, r"\[scores\] threshold is 1.5; allowed: less than or"),
        ({"scores": {"device": "gpu"}}, r"\[scores\] device is 'gpu'; allowed: "),
        ({"clips": {"mode": "all"}}, r"\[clips\] mode is 'all'; allowed: 'sites' or 'grid'"),
        ({"markers": {"layer": 65536}}, r"\[markers\] layer is 65536; allowed: less than or"),
        # of no sense
        ({"layout": {"layers": ["68"]}}, "^layer '68' is not layer/datatype; write it like 68/20$"),
        ({"layout": {"layers": ["1/0", "01/0"]}}, "each layer once"),
        ({"layout": {"layers": ["1/0+1/0"]}}, "each layer once"),
        ({"layout": {"layers": ["met1"]}}, "^layer 'met1' is not layer/datatype"),
        ({"layout": {"layers": ["metal1"], "tech": "sky130A"}}, "no layer is named 'metal1'; nam"),
        ({"layout": {"names": {"a": "b"}}}, "layer 'b' is not layer/datatype"),
        ({"layout": {"tech": "sky"}}, r"tech is 'sky'; allowed: 'sky130A', 'gf180mcu', 'ihp-sg"),
        ({"layout": {"lyp": "absent.lyp"}}, "--lyp absent.lyp cannot be read: No such file"),
        ({"layout": {"roi_um": [5, 0, 5, 9]}}, "x0,y0,x1,y1 with x0 < x1 and y0 < y1"),
        ({"layout": {"roi_um": [0, 0, 5]}}, r"\[layout\] roi_um"),
        (
            {"clips": {"mode": "sites", "stride_nm": 100}},
            r'^\[clips\] stride_nm is 100 but mode is "sites"',
        ),
    ],
)
def test_errors_name_key_value_and_what_is_allowed(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, overrides)


def test_all_errors_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"size_um is 0.*; \[report\] top is -1"):
        load_config(None, {"tiles": {"size_um": 0}, "report": {"top": -1}})


def test_files_that_are_not_configs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent.toml cannot be read"):
        load_config(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("[layout\n")
    with pytest.raises(ConfigError, match=r"bad.toml is not TOML.*line 1"):
        load_config(tmp_path / "bad.toml")
    (tmp_path / "binary.toml").write_bytes(b"\x00\x06\xff\xfe")
    with pytest.raises(ConfigError, match=r"binary.toml is not TOML"):
        load_config(tmp_path / "binary.toml")
    (tmp_path / "flat.toml").write_text("report = 5\n")
    with pytest.raises(ConfigError, match="report is 5; allowed: "):
        load_config(tmp_path / "flat.toml")


@pytest.mark.parametrize("model", [ScanConfig, Resources])
def test_every_setting_is_described(model: type[BaseModel]) -> None:
    tables = (
        [field.annotation for field in model.model_fields.values()]
        if model is ScanConfig
        else [model]
    )
    for table in tables:
        assert isinstance(table, type)
        assert issubclass(table, BaseModel)
        for name, field in table.model_fields.items():
            assert field.description, name
            unit = name.rpartition("_")[2]
            assert unit not in ("nm", "um") or f"in {unit}" in field.description, name


def test_resources() -> None:
    given = load_resources({"workers": 0, "scheduler_address": None, "worker_memory": "1.5GiB"})
    assert given == Resources(workers=0, worker_memory="1.5GiB")
    with pytest.raises(ConfigError, match="workers is -1; allowed: greater than or equal to 0"):
        load_resources({"workers": -1})
    with pytest.raises(ConfigError, match="worker_memory is 'lots'"):
        load_resources({"worker_memory": "lots"})
    with pytest.raises(ConfigError, match=r"worker is not a setting; did you mean workers\?"):
        load_resources({"worker": 2})


def test_a_small_layout_needs_no_worker_unless_one_is_asked_for(tmp_path: Path) -> None:
    small, large = tmp_path / "small.gds", tmp_path / "large.gds"
    small.write_bytes(bytes(SMALL_LAYOUT_BYTES))
    large.write_bytes(bytes(SMALL_LAYOUT_BYTES + 1))
    assert Resources().fit_to(small).workers == 0
    assert Resources().fit_to(large).workers == 1
    for asked in (Resources(workers=1), Resources(worker_memory="2GB")):
        assert asked.fit_to(small) == asked

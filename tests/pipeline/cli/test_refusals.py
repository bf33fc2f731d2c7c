"""Bad usage: what it prints and how it ends, before the long work and without a traceback."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import gdstk
import pytest
import torch

from pipeline.engine.storage.run_directory import Run
from tests.support.small_scan import DENSE, TINY, Hotscan, SmallScan


def said(text: str) -> str:
    """Return what was printed without the frame and the line breaks that typer puts in."""
    return re.sub(r"\s+", " ", text.replace("│", " "))


def library(path: Path, **cells: tuple[int, int] | None) -> Path:
    """Write a layout with one square of a layer in each cell."""
    made = gdstk.Library("made", unit=1e-6, precision=1e-9)
    for name, layer in cells.items():
        cell = made.new_cell(name)
        if layer is not None:
            cell.add(gdstk.rectangle((0, 0), (1, 1), layer=layer[0], datatype=layer[1]))
    made.write_gds(str(path))
    return path


BEFORE_THE_LAYOUT = [
    (["--layer", "68"], "layer '68' is not layer/datatype; write it like 68/20"),
    (["--layer", "68/20"], "[layout] layers is ['68/20', '68/20']; allowed: each layer once"),
    (["--layer", "5/0+69/20"], "--layer 5/0+69/20 is 2 of a picture, and model .* takes 1 (met1);"),
    (["--roi", "1,2,3"], "--roi '1,2,3' is not x0,y0,x1,y1, four numbers in um"),
    (["--roi", "a,2,3,4"], "--roi 'a,2,3,4' is not x0,y0,x1,y1, four numbers in um"),
    (["--roi", "9,9,1,1"], "[layout] roi_um is (9.0, 9.0, 1.0, 1.0); allowed: x0,y0,x1,y1 with"),
    (["--model", "krf131"], "model 'krf131' is neither a file nor a shipped model; shipped are"),
    (
        ["--model", TINY],
        "model '.*tiny.gds' cannot be read as a checkpoint (File is not a zip file); give",
    ),
    (["--threshold", "1.5"], "[scores] threshold is 1.5; allowed: less than or equal to 1"),
    (["--threshold", "high"], "Invalid value for '--threshold'"),
    (["--workers", "-1"], "Invalid value for '--workers'"),
    (["--workers", "two"], "Invalid value for '--workers'"),
    (["--worker-memory", "lots"], "worker_memory is 'lots'; allowed: Memory of each worker, like"),
    (["--device", "tpu"], "[scores] device is 'tpu'; allowed: Where the model runs, cpu, cuda"),
    (["--mode", "all"], "'all' is not one of 'grid', 'sites'"),
    (["--fail-on", "-1"], "--fail-on '-1' is neither a number nor levels with a number each"),
    (["--fail-on", "level4:1"], "--fail-on 'level4:1' is neither a number nor levels"),
    (["--fail-on", "level1:1,level1:2"], "is neither a number nor levels with a number each; wri"),
    (["--exclude", "68/20"], "layer 68/20 is both scanned and excluded; name it once"),
    (["--colour"], "No such option"),
    (["--opc", "model"], "--opc model does not apply without --confirm"),
    (["--budget", "0.1"], "--budget does not apply without --certify"),
    (["--within", "0.1"], "--within does not apply without --certify"),
    (["--keep-model", "m.json"], "--keep-model does not apply without --certify"),
    (["--certify", "0.9", "--process", "krf130"], "--process does not apply to --model"),
    (["--certify", "0.9", "--mode", "sites"], "--certify needs one clip for each core"),
    (["--certify", "0.01"], "within is 0.02 but recall is 0.01"),
    (["--worker-memory", "2GB"], "--worker-memory does not apply to --workers 0"),
    (
        ["--scheduler-address", "tcp://127.0.0.1:1"],
        "--workers does not apply to --scheduler-address",
    ),
]


@pytest.mark.parametrize(("options", "message"), BEFORE_THE_LAYOUT)
def test_bad_options_are_refused_before_anything_is_written(
    options: list[object], message: str, scan: Hotscan, tmp_path: Path
) -> None:
    ended = scan(*options)
    assert ended.code == 2
    assert re.search(re.escape(message).replace(r"\.\*", ".*"), said(ended.err)), ended.err
    assert not (tmp_path / "run").exists()


CONFIGS = [
    ("[scores]\ntreshold = 0.5", "[scores] treshold is not a setting; did you mean threshold?"),
    ("[scors]\nthreshold = 0.5", "scors is not a setting; did you mean scores?"),
    ("[scores", "is not TOML"),
    ("scores = 3", "scores is 3; allowed: a valid dictionary"),
    ("[clips]\nstride_nm = 2000.0", "[clips] stride_nm is 2000 but a core is 1280 nm"),
    ("[raster]\npixel_nm = 20.0", "[raster] pixel_nm is 20 but model .*tiny.pt was trained at 40"),
    ("[raster]\ncore_nm = 640.0", "[raster] core_nm is 640 but model .*tiny.pt was trained at"),
    ("[reader]\nmemory_gb = 0", "[reader] memory_gb is 0; allowed: greater than 0"),
]


@pytest.mark.parametrize(("content", "message"), CONFIGS)
def test_bad_config_files_are_refused_before_anything_is_written(
    content: str, message: str, scan: Hotscan, tmp_path: Path
) -> None:
    (tmp_path / "a.toml").write_text(content)
    ended = scan("--config", tmp_path / "a.toml")
    assert ended.code == 2
    assert re.search(re.escape(message).replace(r"\.\*", ".*"), said(ended.err)), ended.err
    assert not (tmp_path / "run").exists()


def test_a_missing_config_file_is_named(scan: Hotscan, tmp_path: Path) -> None:
    ended = scan("--config", tmp_path / "no.toml")
    assert (ended.code, "no.toml cannot be read (No such file" in ended.err) == (2, True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_device_that_is_not_there_is_refused(scan: Hotscan, tmp_path: Path) -> None:
    ended = scan("--device", "cuda")
    assert ended.code == 2
    assert "[scores] device is 'cuda' but cannot be used here" in ended.err
    assert not (tmp_path / "run").exists()


def test_no_layer_at_all(scan: Hotscan) -> None:
    ended = scan(layer=None)
    assert ended.code == 2
    assert "no layer to scan; give --layer LAYER/DATATYPE" in ended.err


def test_what_only_the_layout_can_tell_is_refused_and_binds_nobody(
    scan: Hotscan, tmp_path: Path
) -> None:
    """Each failed attempt leaves the run directory to the corrected command."""
    marked = tmp_path / "markers.toml"
    marked.write_text("[markers]\nlayer = 69\n")
    half = tmp_path / "half.toml"
    half.write_text("[clips]\nstride_nm = 640.5\n")
    for options, layer, message in (
        ([], "5/5", "the layout has no layer 5/5; layers present: 67/20, 67/44, 68/20"),
        (["--cell", "bock"], "68/20", "there is no cell 'bock'; cells are "),
        (["--config", half], "68/20", "[clips] stride_nm is 640.5 but the database unit is 1 nm"),
        (["--config", marked], "68/20", "marker layer 69 is used by the layout (69/20); choose"),
        (
            ["--roi", "400,0,500,9"], "68/20",
            "--roi 400,0,500,9 um holds nothing of the layout, whose layers extend over ",
        ),
    ):  # fmt: skip
        ended = scan(*options, layer=layer)
        assert ended.code == 2
        assert message in ended.err
    ended = scan("--fail-on", 100_000)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("complete: ")


def test_cells_that_cannot_be_scanned(scan: Hotscan, tmp_path: Path) -> None:
    path = library(tmp_path / "two.gds", full=(68, 20), hollow=None)
    ended = scan(layout=path)
    assert ended.code == 2
    assert "the layout has 2 top cells; choose one with --cell: full, hollow" in ended.err
    ended = scan("--cell", "hollow", layout=path)
    assert ended.code == 3
    assert "cell 'hollow' has no shape on 68/20; choose another --cell or --layer" in ended.err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TINY.read_bytes()[:5000], "byte 5000 in structure 'repetitions': the file ends without"),
        (TINY.with_suffix(".oas").read_bytes()[:900], "the file ends inside"),
        (b"hello\n", "begins with 68 65 6c 6c 6f 0a; GDSII begins with 00 06 00 02"),
        (b"", "begins with nothing"),
        (gzip.compress(TINY.read_bytes())[:900], "gzip is damaged after "),
    ],
)
def test_layouts_that_cannot_be_read(
    content: bytes, message: str, hotscan: Hotscan, scan: Hotscan, tmp_path: Path
) -> None:
    path = tmp_path / "bad.gds"
    path.write_bytes(content)
    for ended in (scan(layout=path), hotscan("info", path), hotscan("validate", path)):
        assert ended.code == 3
        assert str(path) in ended.err
        assert message in ended.err


def test_a_missing_layout(scan: Hotscan, tmp_path: Path) -> None:
    ended = scan(layout=tmp_path / "no.gds")
    assert ended.code == 3
    assert "no.gds: No such file" in ended.err


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_run_directory_that_cannot_be_written(out: str, scan: Hotscan, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ended = scan("--out", tmp_path / out)
    assert ended.code == 2
    assert re.search(r"run directory .* cannot be written \(.*\); choose another --out", ended.err)


def test_a_run_of_other_settings_model_or_layout(
    scan: Hotscan, small_scan: SmallScan, tmp_path: Path
) -> None:
    assert scan().code == 0
    ended = scan("--roi", "50,50,60,60")
    assert ended.code == 2
    assert "[layout] roi_um was [50.0, 50.0, 62.0, 62.0], is [50.0, 50.0, 60.0, 60.0]" in ended.err
    ended = scan("--model", small_scan.model.with_name("untried.pt"))
    assert ended.code == 2
    assert "model was '" in ended.err
    ended = scan(layout=TINY)
    assert ended.code == 2
    assert "layout was '" in ended.err
    assert scan("--threshold", 0.9).code == 0


@pytest.mark.parametrize("command", ["resume", "status", "report", "export"])
def test_a_directory_that_is_no_run(command: str, hotscan: Hotscan, tmp_path: Path) -> None:
    out = ["--out", tmp_path / "x.gds"] if command == "export" else []
    for path in (tmp_path, tmp_path / "nowhere"):
        ended = hotscan(command, path, *out)
        assert ended.code == 2
        assert f"{path} holds no run (no run.json); give the --out of a scan" in ended.err


def test_exports_that_cannot_be_made(reference: Run, hotscan: Hotscan, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for options, message in (
        (["--format", "xyz"], "'xyz' is not one of 'gds', 'oas', 'lyrdb', 'calibre'"),
        (["--marker-layer", 69], "marker layer 69 is used by the layout (69/20); choose another"),
        (["--marker-layer", 70000], "marker layer is 70000; it must be from 0 to 65535"),
        (["-o", tmp_path / "file" / "x"], "x cannot be written ("),
        (["--format", "csv", "--marker-layer", 5], "--marker-layer does not apply to format csv"),
        (["-o", tmp_path / "file", "--format", "clips"], "file cannot be written ("),
    ):
        ended = hotscan("export", reference.path, "-o", tmp_path / "x.gds", *options)
        assert ended.code == 2
        assert message in said(ended.err)
    assert not (tmp_path / "x.gds").exists()


def test_training_and_measuring_refuse_what_is_not_there(hotscan: Hotscan, tmp_path: Path) -> None:
    for command in (("train", tmp_path / "no", "-o", "m.pt"), ("evaluate", TINY, tmp_path / "no")):
        ended = hotscan(*command)
        assert ended.code == 2
        assert ended.err.startswith("hotscan: ")
    ended = hotscan("label", DENSE, "-o", tmp_path / "d", "-l", "68/20", "--process", "krf131")
    assert (ended.code, "no process 'krf131'; give one of" in ended.err) == (2, True)
    assert list(tmp_path.iterdir()) == []

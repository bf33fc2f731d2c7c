"""Who may import what, and who may write files, read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
SOURCES = sorted([*CHECKOUT.glob("stages/**/*.py"), *CHECKOUT.glob("pipeline/**/*.py")])

ROOMS = (
    "config", "engine", "layout", "passes", "simulate", "calibrate", "audit", "report", "fix",
    "review", "scan", "datasets", "train", "evaluate", "cli",
)  # fmt: skip
"""The rooms of `pipeline`, ground floor first: a room imports from itself or from below."""

FLOORS = {
    "pipeline.engine": ("memory", "events", "storage", "agreement", "executors", "session"),
    "pipeline.cli": (
        "option_fields", "options", "settings_options", "terminal", "commands", "app",
    ),
    "pipeline.report": ("run_results", "failures", "run_view", "page", "export", "layers"),
    "stages.lithography": ("process", "optics", "correction", "measure", "calibration"),
    "stages.detector": (
        "networks", "baselines", "training", "catalogue", "integer", "models", "quantisation",
    ),
}  # fmt: skip
"""Rooms inside a folder of `stages` or a room of `pipeline`, ground floor first."""

FOUNDATION = (
    "stages.arithmetic", "stages.compiled", "stages.contracts", "stages.errors", "stages.findings",
    "stages.kernel_folders", "stages.lengths", "stages.rows", "stages.settings", "stages.text",
    "stages.threads", "stages.geometry",
)  # fmt: skip
"""What every stage may import."""

NEIGHBOURS = {
    "stages/compiled.py": ("stages.compiler",),
    "stages/scores.py": ("stages.detector",),
    "stages/fixes/bench.py": ("stages.lithography",),
    "stages/fixes/search.py": ("stages.lithography.process",),
    "stages/exports/fixed_layout.py": ("stages.fixes", "stages.layout"),
    "stages/review/levels.py": ("stages.lithography.limits",),
}
"""What else a stage may import, beside its own folder."""

TORCH = (
    "stages/arithmetic.py", "stages/scores.py", "stages/threads.py", "stages/detector/",
    "stages/lithography/",
)  # fmt: skip
GDSTK = ("stages/exports/fixed_layout.py", "stages/exports/markers.py")

WRITERS = {
    "stages/compiler.py", "stages/detector/models/checkpoint.py", "stages/kernel_folders.py",
    "stages/lithography/optics/kernel_cache.py",
}  # fmt: skip
"""Stages that touch files, as the docstring of `stages` says; all others only compute."""

WRITING_METHODS = {
    "write_text", "write_bytes", "write_gds", "write_oas", "mkdir", "makedirs", "unlink", "rename",
    "rmdir", "touch", "savez", "savez_compressed", "tofile", "symlink_to",
}  # fmt: skip
WRITING_CALLS = {"os.replace", "os.remove", "torch.save", "np.save", "shutil.move"}


def imports(path: Path) -> Iterator[str]:
    """Names of all modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def writes(source: str) -> Iterator[str]:
    """Calls in a source text that write, move or remove files."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            name = call.rpartition(".")[2]
            given = [*node.args, *(keyword.value for keyword in node.keywords)]
            opens = name == "open" and any(map(is_writing_mode, given))
            if opens or name in WRITING_METHODS or call in WRITING_CALLS:
                yield call


def is_writing_mode(node: ast.expr) -> bool:
    """Whether an argument of ``open`` is a mode such as ``wb``."""
    text = node.value if isinstance(node, ast.Constant) else ""
    return isinstance(text, str) and set(text) <= set("rwaxbt+") and bool(set(text) & set("wax+"))


def name_of(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def breaches(path: Path, imported: set[str]) -> Iterator[str]:
    """Say what a file imports that it must not."""
    name, tops = name_of(path), {module.split(".")[0] for module in imported}
    own = ".".join(name.removesuffix(".py").split("/")[:2])
    if "klayout" in tops:
        yield "klayout is GPL: an oracle for tests, never a dependency"
    if "gdstk" in tops and name not in GDSTK:
        yield f"gdstk only in {', '.join(GDSTK)}"
    if "hotscan" in tops:
        yield "the public API stands on pipeline, not under it"
    if name.startswith("stages/"):
        yield from stage_breaches(name, own, imported, tops)
    elif name != "pipeline/__init__.py":
        yield from climbs("pipeline", ROOMS, name, imported)
    if own in FLOORS:
        yield from climbs(own, FLOORS[own], name, imported)


def stage_breaches(name: str, own: str, imported: set[str], tops: set[str]) -> Iterator[str]:
    if "torch" in tops and not name.startswith(TORCH):
        yield f"torch only in {', '.join(TORCH)}"
    for module in ("zarr", "dask", "distributed", "pipeline", "sqlite3"):
        if module in tops:
            yield f"{module} only in pipeline"
    allowed = (*FOUNDATION, own, *NEIGHBOURS.get(name, ()))
    if own == "stages.geometry":
        allowed = FOUNDATION
    for module in imported:
        if module.startswith("stages.") and not module.startswith(allowed):
            yield f"a stage imports no other stage ({module})"


def climbs(folder: str, floors: tuple[str, ...], name: str, imported: set[str]) -> Iterator[str]:
    """Say which imports of a file lead from its room of `folder` to one above it."""
    depth = len(folder.split("."))
    room = name.removesuffix(".py").split("/")[depth]
    if room not in floors:
        return
    above = floors[floors.index(room) + 1 :]
    for module in imported:
        if module.startswith(tuple(f"{folder}.{higher}" for higher in above)):
            yield f"{room} stands below it ({module})"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_import_law(path: Path) -> None:
    assert list(breaches(path, set(imports(path)))) == []


def test_every_room_has_a_floor() -> None:
    rooms = {path.name.removesuffix(".py") for path in (CHECKOUT / "pipeline").glob("[a-z]*")}
    assert rooms - {"py.typed"} == set(ROOMS)


def test_stages_write_no_files() -> None:
    stages = [path for path in SOURCES if name_of(path).startswith("stages/")]
    assert {name_of(path) for path in stages if list(writes(path.read_text()))} == WRITERS


def test_the_law_can_be_broken() -> None:
    tiles, units = CHECKOUT / "stages" / "tiles.py", CHECKOUT / "pipeline" / "passes" / "units.py"
    broken = {"klayout", "gdstk", "torch", "zarr", "pipeline.cli.app", "stages.raster"}
    assert len(list(breaches(tiles, broken))) == 6
    assert len(list(breaches(units, {"pipeline.scan.scan", "hotscan"}))) == 2
    optics = CHECKOUT / "stages" / "lithography" / "optics" / "kernels.py"
    assert len(list(breaches(optics, {"stages.lithography.measure.defects"}))) == 1
    losses = CHECKOUT / "stages" / "detector" / "training" / "losses.py"
    assert len(list(breaches(losses, {"stages.detector.models.checkpoint"}))) == 1
    for climber, above in (
        ("engine/storage/ledger", "pipeline.engine.session"),
        ("engine/executors", "pipeline.engine.session"),
        ("cli/commands/scan", "pipeline.cli.app"),
        ("cli/option_fields", "pipeline.cli.options"),
        ("report/failures", "pipeline.report.run_view"),
        ("report/page/content", "pipeline.report.export"),
    ):
        path = CHECKOUT / "pipeline" / f"{climber}.py"
        assert path in SOURCES
        assert len(list(breaches(path, {above}))) == 1, climber
    union = CHECKOUT / "stages" / "geometry" / "union.py"
    assert len(list(breaches(union, {"stages.layout.pack"}))) == 1
    assert len(SOURCES) > 100


@pytest.mark.parametrize(
    "source",
    [
        "path.write_text('x')", "open(path, 'w')", "path.open('ab')", "path.open(mode='w')",
        "os.replace(a, b)", "np.savez(file, a=a)", "library.write_gds(path)", "torch.save(x, f)",
    ],
)  # fmt: skip
def test_writing_is_seen(source: str) -> None:
    assert list(writes(source))


@pytest.mark.parametrize("source", ["path.open('rb')", "text.replace('a', 'b')", "open('a.txt')"])
def test_reading_is_not_writing(source: str) -> None:
    assert list(writes(source)) == []

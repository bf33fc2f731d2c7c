"""How quickly the page of `hotscan review` answers, on a run with a million hotspots.

python -m benchmarks.findings.review [--hotspots N] [--moves N] [--work DIR]

A chip of 3 x 3 mm, the crowded sample a hundred times, of which a corner is really scanned; the
hotspots of the whole are then written over its tables by the run's own writers, so that every check
of a run holds. The server is the program's; the page is opened in Chromium without a window.

    first view   from opening the address to the map drawn with its hotspots, and one described
    pan, zoom    from the key to the map drawn with all that belongs there; with a pause of a third
                 of a second between keys, as a person looks, and without any
    keys         every key of the page: what it must do, and how long that took
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import gdstk
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import hotscan
from benchmarks.machine import machine
from pipeline.engine.session import Written, record_written
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run, write_table
from pipeline.passes.arrays import read_patterns
from pipeline.report.classify import CLASSES, FINDINGS
from pipeline.simulate.hot_clips import HOT_CLIPS, write_clips_to_simulate
from sample_layouts.make import write_samples
from stages.contracts import Box, Hotspot
from stages.exports.tables import hotspots_to_table

if TYPE_CHECKING:
    from playwright.sync_api import Page

COPIES, SIDE_NM, CORE_NM = 10, 300_000, 1280
SCANNED_UM = 60, 60, 90, 90
CHROMIUM = "/usr/bin/chromium"
PAUSE_MS = 333
READY = "#map[data-state=ready]"

MOVE = """([key, pause]) => new Promise((done) => setTimeout(() => {
  const map = document.querySelector("#map"), start = performance.now();
  map.addEventListener("ready", () => requestAnimationFrame(
    () => done(performance.now() - start)), {once: true});
  map.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
}, pause))"""
"""Press a key on the map, and return after how many ms all of the new view was drawn."""


def write_chip(path: Path) -> None:
    """Write the crowded sample `COPIES` times in each direction."""
    with TemporaryDirectory() as folder:
        _, dense, *_ = write_samples(Path(folder))
        plain = dense.with_suffix("")
        plain.write_bytes(gzip.decompress(dense.read_bytes()))
        library = gdstk.read_gds(plain)
    (block,) = library.top_level()
    chip = library.new_cell("chip")
    step = SIDE_NM * 1e-9 / library.unit
    chip.add(gdstk.Reference(block, columns=COPIES, rows=COPIES, spacing=(step, step)))
    library.write_gds(path)


def make_run(folder: Path, hotspots: int) -> Path:
    """Return a run of a chip with so many hotspots, made unless it is there."""
    out = folder / f"run{hotspots}"
    if (out / "made").exists():
        return out
    shutil.rmtree(out, ignore_errors=True)
    write_chip(folder / "chip.gds")
    found = hotscan.scan(
        folder / "chip.gds", out=out, layers=["68/20"], roi=SCANNED_UM, workers=0, progress=False,
        threshold=0.05,
    )  # fmt: skip
    assert isinstance(found, hotscan.Run)
    assert found.hotspots.num_rows > 0
    _write_hotspots(Run(out), hotspots)
    (out / "made").touch()
    return out


def _write_hotspots(run: Run, hotspots: int) -> None:
    random = np.random.default_rng(17)
    side = COPIES * SIDE_NM // CORE_NM  # a hotspot a core, at most
    cores = random.choice(side * side, hotspots, replace=False)
    x, y = (np.array(each) * CORE_NM + CORE_NM // 2 for each in (cores % side, cores // side))
    score = np.sort(random.uniform(0.05, 1, hotspots))[::-1]
    (key,) = read_patterns(run, "key")
    names = [row.tobytes().hex() for row in np.asarray(key)]
    pattern = random.integers(len(names), size=hotspots)
    half = CORE_NM // 2
    rows = zip(*(column.tolist() for column in (x, y, score, pattern)), strict=True)
    spots = [
        Hotspot(at, x, y, score, "grid", 1, pattern, names[pattern], 1,
                Box(x - half, y - half, x + half, y + half))
        for at, (x, y, score, pattern) in enumerate(rows, 1)
    ]  # fmt: skip
    write_table(run.hotspots, hotspots_to_table(spots, 1.0))
    write_clips_to_simulate(run, x, y, np.arange(1, hotspots + 1))
    _write_classes(run, x, y, score)
    with Ledger(run.ledger) as ledger:
        for stage, files in (
            ("hotspots", (run.name_of(run.hotspots), HOT_CLIPS)), ("classes", (FINDINGS, CLASSES)),
        ):  # fmt: skip
            ledger.forget(stage)
            record_written(run, ledger, stage, Written(files, {stage: hotspots}))


def _write_classes(run: Run, x: Any, y: Any, score: Any) -> None:
    """Write classes, few large and many small ones, with the columns of those that were scanned."""
    count, random = len(x), np.random.default_rng(18)
    drawn = random.zipf(1.4, count) % max(2, count // 20)
    sizes = np.unique(drawn, return_inverse=True, return_counts=True)
    rank = np.argsort(np.argsort(-sizes[2], kind="stable"))
    of_class = rank[sizes[1]] + 1
    findings, classes = (pq.read_table(run.path / name) for name in (FINDINGS, CLASSES))
    cells = np.array([f"block_{number}" for number in range(400)])
    columns = {name: _repeat(findings, name, count) for name in findings.column_names}
    columns |= {
        "id": np.arange(1, count + 1), "class_id": of_class, "place_x_dbu": x.astype(float),
        "place_y_dbu": y.astype(float), "cell": cells[random.integers(400, size=count)],
    }  # fmt: skip
    write_table(run.path / FINDINGS, pa.table(columns, schema=findings.schema))
    ids, first, members = np.unique(of_class, return_index=True, return_counts=True)
    columns = {name: _repeat(classes, name, len(ids)) for name in classes.column_names}
    columns |= {
        "id": ids, "representative": first + 1, "hotspots": members, "worst_score": score[first],
    }  # fmt: skip
    write_table(run.path / CLASSES, pa.table(columns, schema=classes.schema))


def _repeat(table: pa.Table, name: str, count: int) -> pa.Array:
    """Return a column, over and over."""
    return table[name].combine_chunks().take(pa.array(np.arange(count) % table.num_rows))


@contextmanager
def serve(run: Path) -> Iterator[tuple[str, float]]:
    """Yield the address of a review, and after how many seconds it was there."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pipeline.cli.app", "review", str(run), "--by", "A. Name",
               "--waivers", str(run.parent / "waivers.toml")]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = next(line for line in process.stdout if line.startswith("http://")).strip()
            yield address, time.perf_counter() - started
        finally:
            process.terminate()


def open_first(page: Page, address: str) -> float:
    """Open the page; return after how many seconds all of the first view was there."""
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(READY)
    page.wait_for_selector("#facts dd")
    page.wait_for_selector("#table tbody tr")
    return time.perf_counter() - started


def move(page: Page, moves: int, pause_ms: int) -> dict[str, list[float]]:
    """Pan and zoom at random between the whole chip and single shapes; return ms by kind."""
    random, depth = np.random.default_rng(19), 0
    found: dict[str, list[float]] = {"pan": [], "zoom": []}
    page.keyboard.press("0")
    page.wait_for_selector(READY)
    for _ in range(moves):
        if random.random() < 0.5:
            kind, key = "pan", f"Arrow{random.choice(['Left', 'Right', 'Up', 'Down'])}"
        else:
            closer = depth < 4 or (depth < 22 and random.random() < 0.6)
            kind, key = "zoom", "+" if closer else "-"
            depth += 1 if closer else -1
        found[kind].append(page.evaluate(MOVE, [key, pause_ms]))
    return found


def press(page: Page, key: str, expected: str) -> float:
    """Press a key; return after how many ms an expression of the page became true."""
    started = time.perf_counter()
    page.keyboard.press(key)
    while not page.evaluate(expected):  # waiting in the page would need eval, which it forbids
        if time.perf_counter() - started > 60:
            raise TimeoutError(f"{key} did nothing within a minute: {expected}")
        time.sleep(0.005)
    return (time.perf_counter() - started) * 1000


def press_all(page: Page) -> list[tuple[str, float]]:
    """Press every key of the page, and check what each does; return ms."""
    text = "document.querySelector('#{}').textContent"
    said = "document.querySelector('#say').textContent.includes('{}')"
    name = page.inner_text("#name")
    other = f"{text.format('name')} !== {name!r}"
    same = f"{text.format('name')} === {name!r}"
    shown = "document.querySelector('#{}').open"
    pressed = "document.querySelector('#{}').getAttribute('aria-pressed') === '{}'"
    steps = [
        ("j", other), ("k", same), ("n", other), ("p", "true"),
        ("z", "document.querySelector('#map').dataset.state === 'ready'"),
        ("o", pressed.format("contours", "true")), ("o", pressed.format("contours", "false")),
        ("c", pressed.format("class-only", "true")), ("c", pressed.format("class-only", "false")),
        ("l", "document.querySelector('#colour').value === 'class'"),
        ("l", "document.querySelector('#colour').value === 'level'"),
        ("a", said.format("Accepted 1 hotspot")), ("f", said.format("To fix: 1 hotspot")),
        ("F", said.format("To fix:")), ("A", said.format("Accepted")),
        ("w", shown.format("text")), ("Escape", f"!{shown.format('text')}"),
        ("m", shown.format("text")), ("Escape", f"!{shown.format('text')}"),
        ("?", shown.format("help")), ("Escape", f"!{shown.format('help')}"),
        ("k", "true"), ("u", said.format("Opened")),
        ("/", "document.activeElement.name === 'level'"),
    ]  # fmt: skip
    found = []
    for key, expected in steps:
        page.wait_for_timeout(100)
        page.evaluate("document.querySelector('#say').textContent = ''")
        found.append((key, press(page, key, expected)))
    page.wait_for_timeout(100)
    page.keyboard.press("w")
    page.keyboard.type("measured")
    found.append(("w, reason, Ctrl+Enter", press(page, "Control+Enter", said.format("Waived 1"))))
    return found


def refuse_others(page: Page, address: str) -> list[tuple[str, int]]:
    """Return what is asked without the right to, and the status that it is refused with."""
    origin = "/".join(address.split("/")[:3])
    tries = [("no token", origin + "/"), ("another token", f"{origin}/{'x' * 32}/"),
             ("tiles, no token", f"{origin}/tiles/0/0/0/0.png")]  # fmt: skip
    found = []
    for name, target in tries:
        tab = page.context.new_page()
        response = tab.goto(target)
        assert response is not None
        found.append((name, response.status))
        tab.close()
    return found


def measure(run: Path, moves: int) -> None:
    """Print all figures of a run."""
    from playwright.sync_api import sync_playwright

    with serve(run) as (address, opened), sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        first = []
        for _ in range(3):
            page = browser.new_context(viewport={"width": 1440, "height": 860}).new_page()
            first.append(open_first(page, address))
        print(f"progress: {page.inner_text('#progress')}\n")
        print("| | n | median | 90 % | worst |\n|---|---|---|---|---|")
        print(f"| first view, s | {len(first)} | {_format(first, 2)} |")
        for pause, name in ((PAUSE_MS, "as a person looks"), (0, "without a pause")):
            for kind, times in move(page, moves, pause).items():
                print(f"| {kind}, {name}, ms | {len(times)} | {_format(times, 0)} |")
        print(f"\nto open the run before that: {opened:.0f} s\n")
        print("| key | ms |\n|---|---|")
        for key, took in press_all(page):
            print(f"| {key} | {took:.0f} |")
        print("\n| refused | status |\n|---|---|")
        for name, status in refuse_others(page, address):
            print(f"| {name} | {status} |")
        browser.close()


def _format(times: Sequence[float], digits: int) -> str:
    ordered = sorted(times)
    shown = statistics.median(ordered), ordered[int(0.9 * (len(ordered) - 1))], ordered[-1]
    return " | ".join(f"{value:.{digits}f}" for value in shown)


def main() -> None:
    """Make the run and print the tables."""
    parser = argparse.ArgumentParser(description=re.split(r"\n\n", __doc__ or "")[0])
    parser.add_argument("--hotspots", type=int, default=1_000_000)
    parser.add_argument("--moves", type=int, default=120)
    parser.add_argument("--work", type=Path, help="folder to keep the run in")
    asked = parser.parse_args()
    print(f"{machine()}, load {os.getloadavg()[0]:.1f}")
    with TemporaryDirectory() as scratch:
        work = asked.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        run = make_run(work, asked.hotspots)
        (run / "review.jsonl").unlink(missing_ok=True)
        (work / "waivers.toml").unlink(missing_ok=True)
        measure(run, asked.moves)


if __name__ == "__main__":
    main()

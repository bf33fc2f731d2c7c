"""Make the pictures of the docs that show what hotscan writes, in docs/img.

Run as ``python -m docs.tools.make_screenshots [FOLDER]``. FOLDER is one in which the tutorial ran;
without it, the tutorial is run first. Its scan is audited and fixed, and the report opened in
Chromium without a window: report.png, report_dark.png and fixes.png; so is the review: review.png.
neck_before.png and neck_after.png are drawn from what ``hotscan simulate`` wrote.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Thread

import gdstk
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon as Patch
from PIL import Image

from docs.tools.run_tutorial import run_tutorial
from pipeline.review.serve import ReviewRequest, open_review
from stages.lithography.process import load_process

IMAGES = Path(__file__).parents[1] / "img"
WIDTH_PX, HEIGHT_PX, FIXES_PX = 1280, 1850, 860
DARK = "--blink-settings=preferredColorScheme=0"
MET1 = 68, 20
FIRST_CORNER = 10
"""Datatype of the contours of the first corner in ``simulation.gds``."""
COLOURS = ("#202020", "#d1495b", "#2e6fb7")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip


def photograph(page: Path, image: Path, height_px: int, *flags: str) -> None:
    """Write a picture of the upper part of a page, in 128 colours."""
    with tempfile.TemporaryDirectory() as scratch:
        shot = Path(scratch) / "shot.png"
        subprocess.run(
            [find_chromium(), *FLAGS, *flags, f"--user-data-dir={scratch}/profile",
             f"--screenshot={shot}", f"--window-size={WIDTH_PX},{height_px}",
             page.resolve().as_uri()],
            check=True, capture_output=True,
        )  # fmt: skip
        _reduce(shot, image)


def photograph_review(run: Path, image: Path) -> None:
    """Write a picture of the review of a run, its worst hotspot with contours, in 128 colours."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as scratch:
        own = shutil.copytree(run, Path(scratch) / "run")  # nobody reviews that of the tutorial
        request = ReviewRequest(run=own, waivers=Path(scratch) / "waivers.toml", by="A. Name")
        shot = Path(scratch) / "shot.png"
        with open_review(request) as served, sync_playwright() as browsers:
            thread = Thread(target=served.serve)
            thread.start()
            browser = browsers.chromium.launch(
                executable_path=find_chromium(), args=["--no-sandbox"]
            )
            page = browser.new_page(viewport={"width": WIDTH_PX, "height": 780})
            page.goto(served.address)
            page.wait_for_selector("#facts dd")
            page.keyboard.press("o")
            page.wait_for_selector("#contours[aria-pressed=true]")
            page.wait_for_selector("#map[data-state=ready]")
            page.keyboard.press("-")
            page.wait_for_selector("#map[data-state=ready]")
            page.wait_for_selector("#say:empty", state="attached")
            page.screenshot(path=shot)
            browser.close()
            served.server.should_exit = True
            thread.join()
        _reduce(shot, image)


def _reduce(shot: Path, image: Path) -> None:
    """Write a picture in 128 colours, the rare ones too."""
    colours = Image.open(shot).convert("RGB")
    colours.quantize(128, Image.Quantize.MAXCOVERAGE).save(image, optimize=True)


def find_chromium() -> str:
    """Return the path of the browser."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("chromium is not on the PATH; install it, for example: apt-get install chromium")
    return chromium


def photograph_section(page: Path, section: str, image: Path, height_px: int) -> None:
    """Write a picture of one section of a page."""
    hidden = f"nav, body > header, main > :not(#{section}) {{ display: none !important }}"
    with tempfile.TemporaryDirectory() as scratch:
        alone = Path(scratch) / "alone.html"
        alone.write_text(page.read_text().replace("</style>", f"{hidden}</style>", 1))
        photograph(alone, image, height_px)


def photograph_report(run: Path) -> None:
    """Audit and fix a scan, and write pictures of its report."""
    for command in (("audit", run, "--clips", "5%"), ("fix", run)):
        subprocess.run([sys.executable, "-m", "hotscan", *map(str, command)], check=True)
    page = run / "report" / "index.html"
    photograph(page, IMAGES / "report.png", HEIGHT_PX)
    photograph(page, IMAGES / "report_dark.png", HEIGHT_PX, DARK)
    photograph_section(page, "fixes", IMAGES / "fixes.png", FIXES_PX)


def draw_simulation(axes: Axes, folder: Path, title: str, window: tuple[float, ...]) -> None:
    """Draw the target of a simulated region, and what prints of it at each corner."""
    (top,) = gdstk.read_gds(folder / "simulation.gds").top_level()
    for polygon in top.polygons:
        if (polygon.layer, polygon.datatype) == MET1:
            axes.add_patch(Patch(polygon.points, color="#dcdcdc", linewidth=0))
    for number, colour in enumerate(COLOURS):
        pieces = [p for p in top.polygons if p.datatype == FIRST_CORNER + number]
        for polygon in gdstk.boolean(pieces, [], "or"):  # tiles meet inside the window
            axes.add_patch(Patch(polygon.points, fill=False, edgecolor=colour, linewidth=1.2))
    x0, y0, x1, y1 = window
    axes.set(xlim=(x0 + 0.7, x1 - 0.7), ylim=(y0 + 0.7, y1 - 0.7), aspect="equal")
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=7)
    axes.set_xlabel("um", fontsize=8)


def draw_neck(folder: Path, when: str, title: str) -> None:
    """Draw the tutorial's neck as it was simulated ``before`` or ``after`` the edit."""
    window = tuple(float(side) for side in (folder / "roi.txt").read_text().split(","))
    figure = Figure(figsize=(4.6, 4.4), layout="constrained", dpi=110)
    axes = figure.subplots()
    draw_simulation(axes, folder / when, title, window)
    names = [corner.name for corner in load_process("krf130").corners]
    lines = [Line2D([], [], color=colour) for colour in COLOURS]
    axes.legend(lines, names, fontsize=8, loc="upper right")
    figure.savefig(IMAGES / f"neck_{when}.png")


def main() -> None:
    """Run the tutorial and make its pictures."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(scratch) / "tutorial"
        if not folder.exists():
            run_tutorial(folder)
        photograph_report(folder / "run")
        photograph_review(folder / "run", IMAGES / "review.png")
        draw_neck(folder, "before", "before: it pinches")
        draw_neck(folder, "after", "after: it prints")


if __name__ == "__main__":
    main()

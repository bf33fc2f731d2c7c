"""Run the tutorial: every command and program of docs/tutorial.md, in order, as a reader would.

Run as ``python -m docs.tools.run_tutorial FOLDER``; leaves in FOLDER what the tutorial writes.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PAGE = CHECKOUT / "docs" / "tutorial.md"
FENCE = re.compile(r'^```(sh|python)(?: title="([\w.]+)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


def read_blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield the language, file name (or nothing) and text of each block of code of a page."""
    for block in FENCE.finditer(text):
        yield block[1], block[2] or "", block[3]


def run_tutorial(folder: Path, roi: str = "") -> None:
    """Run the tutorial in an empty folder.

    Parameters
    ----------
    roi
        Region that its scans are limited to, x0,y0,x1,y1 in um; the whole block by default.

    Raises
    ------
    subprocess.CalledProcessError
        When a command fails.
    """
    tools = folder / ".bin"
    tools.mkdir(parents=True)
    (folder / "sample_layouts").symlink_to(CHECKOUT / "sample_layouts")
    for name, what in (("hotscan", "-m hotscan"), ("python", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {what} "$@"\n')
        (tools / name).chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(CHECKOUT),
    }  # fmt: skip
    for language, name, text in read_blocks(PAGE.read_text()):
        if language == "python":
            (folder / name).write_text(text)
        else:
            if roi:
                text = text.replace("hotscan scan ", f"hotscan scan --roi {roi} ")
            subprocess.run(["bash", "-euc", text], cwd=folder, env=environment, check=True)


if __name__ == "__main__":
    run_tutorial(Path(sys.argv[1]))

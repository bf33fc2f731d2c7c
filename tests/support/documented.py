"""The commands that README and docs show."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
PAGES = sorted([CHECKOUT / "README.md", *CHECKOUT.glob("docs/**/*.md")])


def code_blocks(page: Path) -> Iterator[list[str]]:
    """Yield the lines of each block of code, fenced or indented, of a Markdown page."""
    fence, block = "", list[str]()
    for line in [*page.read_text().splitlines(), "end"]:
        mark = re.match(r"\s*(```+|~~~+)", line)
        if mark and (not fence or mark[1] == fence):
            fence = "" if fence else mark[1]
        elif fence or line.startswith("    ") or (block and not line):
            block.append(line.strip())
            continue
        if block:
            yield block
            block = []


def commands(block: list[str]) -> Iterator[list[str]]:
    """Yield the command lines of a block as words, one in quotes inside another included."""
    for line in "\n".join(block).replace("\\\n", " ").splitlines():
        plain = re.sub(r"\$(\([^)]*\)|\w+)", "1", line.removeprefix("$ "))  # what a shell fills in
        for found in re.finditer(r"(^|['\";|&] ?)((?:hotscan|python -m) [^\s=].*)", plain):
            before, text = found.groups()
            if before in ("'", '"'):
                text = text.partition(before)[0]
            yield shlex.split(re.split(r"\s[|>&;]", text)[0], comments=True)


def shown(program: str) -> list[tuple[str, list[str]]]:
    """The commands of a program on all pages, each with the name of its page."""
    return [
        (page.relative_to(CHECKOUT).as_posix(), words)
        for page in PAGES
        for block in code_blocks(page)
        for words in commands(block)
        if words[0] == program
    ]

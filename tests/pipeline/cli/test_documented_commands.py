"""The README's cheap commands run as they stand, on the tiny layout under the names they give."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.support.documented import CHECKOUT, code_blocks, commands
from tests.support.small_scan import TINY, Hotscan

CHEAP = {"info", "plan", "scan", "resume", "status", "export", "validate", "models"}
BLOCKS = [
    block
    for block in (list(commands(lines)) for lines in code_blocks(CHECKOUT / "README.md"))
    if any(words[0] == "hotscan" for words in block)
]


def write_layout(path: Path) -> None:
    content = TINY.read_bytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def in_this_process(words: list[str]) -> list[str]:
    """Return a command without the workers that it asks for, which would each import torch."""
    if "--workers" in words:
        at = words.index("--workers")
        words = words[:at] + words[at + 2 :]
    return [*words, "--workers", "0"] if words[0] in ("scan", "resume") else words


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: " ".join(block[0]))
def test_the_readme_s_commands_run(
    block: list[list[str]], hotscan: Hotscan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cheap = [words for _, *words in block if words[0] in CHEAP]
    assert cheap
    for words in cheap:
        for name in words:
            if name.endswith((".gds", ".gds.gz")):
                write_layout(Path(name))
        ended = hotscan(*in_this_process(words))
        assert ended.code == 0, ended.err

"""Every command in README and docs is one that the program has."""

from __future__ import annotations

import importlib.util
from contextlib import suppress
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from pipeline.cli.app import app
from pipeline.engine.storage import replica
from tests.support.documented import code_blocks, commands, shown

HOTSCAN = shown("hotscan")
MODULES = shown("python")


def name_of(value: str | list[str]) -> str:
    return value if isinstance(value, str) else " ".join(value)[:60]


def parse(words: list[str]) -> None:
    """Parse a command line as the program does, and run nothing."""
    command, rest = typer.main.get_command(app), words[1:]
    context = typer.Context(command, info_name="hotscan")
    while isinstance(command, TyperGroup) and rest and not rest[0].startswith("-"):
        found = command.get_command(context, rest[0])
        assert found is not None, f"there is no command {rest[0]!r}"
        command, rest = found, rest[1:]
    if {"--install-completion", "--show-completion"} & set(rest):
        return  # these are typer's own, and do it as they are parsed
    with suppress(typer.Exit):  # --help, --version
        command.make_context(words[0], list(rest))


@pytest.mark.parametrize(("page", "words"), HOTSCAN, ids=name_of)
def test_a_documented_command_is_parsed(
    page: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOTSCAN_REPLICAS", str(tmp_path))
    # No store is asked.
    monkeypatch.setattr(replica.Mirror, "pull", lambda mirror: None)
    monkeypatch.setattr(replica.Mirror, "list_inner", lambda mirror: [])
    parse(words)


@pytest.mark.parametrize(("page", "words"), MODULES, ids=name_of)
def test_a_documented_module_can_be_run(page: str, words: list[str]) -> None:
    assert importlib.util.find_spec(words[2]), words


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("hotscan scam chip.gds", "there is no command 'scam'"),
        ("hotscan scan chip.gds", "Missing parameter: out"),
        ("hotscan scan a.gds --out run --layr 1/0", "No such option: --layr"),
        ("hotscan info a.gds b.gds", "unexpected extra argument"),
        ("hotscan scan a.gds --out run --workers many", "valid integer"),
    ],
)
def test_a_wrong_command_is_found(line: str, fault: str) -> None:
    with pytest.raises(Exception, match=fault):
        parse(line.split())


def test_commands_are_found_in_blocks() -> None:
    block = [
        "$ hotscan info a.gds  # cells", "hotscan scan a.gds \\", "--out run > log",
        "import hotscan", "sbatch --wrap 'hotscan merge a b --out c'", "hotscan = 3",
        "hotscan merge part$i --out $OUT",
        "python -m benchmarks.lithography.opc",
    ]  # fmt: skip
    assert [" ".join(words) for words in commands(block)] == [
        "hotscan info a.gds", "hotscan scan a.gds --out run", "hotscan merge a b --out c",
        "hotscan merge part1 --out 1", "python -m benchmarks.lithography.opc",
    ]  # fmt: skip
    assert len(HOTSCAN) > 10
    assert len(MODULES) > 5


def test_blocks_are_fenced_or_indented(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("hotscan is\n\n    one\n\n    two\ntext\n```sh\nthree\n```\n~~~\n```\n~~~\n")
    assert list(code_blocks(page)) == [["one", "", "two"], ["three"], ["```"]]

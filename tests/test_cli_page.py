"""docs/reference/cli.md says what the program says."""

from __future__ import annotations

from pipeline.cli.app import app
from tests.test_docs import CHECKOUT, script


def test_the_page_of_commands_is_up_to_date() -> None:
    page = (CHECKOUT / "docs" / "reference" / "cli.md").read_text()
    assert page == script("make_cli").page(), "run: python docs/tools/make_cli.py"


def test_every_command_has_help_that_fits_a_line() -> None:
    for command in app.registered_commands:
        assert command.callback is not None
        first = (command.callback.__doc__ or "").splitlines()[0]
        assert 10 < len(first) <= 60
        assert first.endswith(".")

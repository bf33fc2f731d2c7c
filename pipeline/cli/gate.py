"""The gate of ``--fail-on``: how many hotspots are allowed.

in       what the command line gave, how many hotspots each level has
out      what is over the gate, in words
unit     a command
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from stages.errors import UsageError

_ITEM = re.compile(r"(?:level([123]):)?(\d+)")


@dataclass(frozen=True, slots=True)
class Gate:
    """Most hotspots that pass."""

    asked: str
    """As the user wrote it."""
    total: int | None
    """Of all levels together; None for any number."""
    by_level: Mapping[int, int]

    def describe_excess(self, found: Mapping[int, int], noun: str) -> str:
        """Return what is over the gate, in words; nothing when all passes.

        Parameters
        ----------
        found
            How many each level has. What prints in simulation has no level, and counts nowhere.
        noun
            What they are.
        """
        every = sum(found.values())
        over = [f"{every} {noun}"] if self.total is not None and every > self.total else []
        over += [
            f"{found[level]} {noun} of level {level}"
            for level, most in sorted(self.by_level.items())
            if found[level] > most
        ]
        return f"{' and '.join(over)} are over the gate, --fail-on {self.asked}" if over else ""


def parse_gate(text: str) -> Gate:
    """Return the gate of ``--fail-on``.

    Raises
    ------
    UsageError
        When it is no number, and no list of levels with a number each.

    Examples
    --------
    >>> gate = parse_gate("level1:0,level2:50")
    >>> found = {1: 2, 2: 50, 3: 900}
    >>> gate.describe_excess(found, "hotspots")
    '2 hotspots of level 1 are over the gate, --fail-on level1:0,level2:50'
    >>> parse_gate("3").describe_excess(found, "hotspots")
    '952 hotspots are over the gate, --fail-on 3'
    >>> parse_gate("952").describe_excess(found, "hotspots")
    ''
    """
    total: int | None = None
    by_level: dict[int, int] = {}
    for item in text.split(","):
        match = _ITEM.fullmatch(item.strip())
        level = int(match[1] or 0) if match else 0
        if match is None or level in by_level or (not level and total is not None):
            raise UsageError(
                f"--fail-on {text!r} is neither a number nor levels with a number each; write it "
                "like 0 or level1:0,level2:50"
            )
        if level:
            by_level[level] = int(match[2])
        else:
            total = int(match[2])
    return Gate(text, total, by_level)

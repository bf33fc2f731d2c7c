"""What reviewers decide of the hotspots of a scan, as lines of a file that seals itself.

in       decisions, lines of text
out      lines of text; the decisions of a file, what each hotspot is
unit     a decision, of one hotspot or of many
promise  each line has a digest over itself and all lines before: a changed, lost or moved line
         is found; only a last line that was not written to its end is dropped
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from stages.contracts import Bytes
from stages.errors import IncompleteError, UsageError

STATES = ("open", "accepted", "fix", "waived")
"""What a hotspot is: not decided, nothing to do, to be mended, waived with a reason."""

COMMENT = "comment"
"""What a decision may be, too: it says something and changes nothing."""

_FORMAT = 1
_DIGEST = "digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One decision."""

    what: str
    """One of `STATES`, or `COMMENT`."""
    hotspots: tuple[tuple[int, int], ...]
    """Ids, as ranges: first and last."""
    by: str
    """Who decided."""
    at: str
    """When, ISO 8601 in UTC."""
    text: str = ""
    """Reason of a waiver, or a comment."""
    waiver: str = ""
    """Id of the waiver that it added."""

    def __post_init__(self) -> None:
        if self.what not in (*STATES, COMMENT):
            named = ", ".join((*STATES, COMMENT))
            raise UsageError(f"decision {self.what!r} is unknown; choose one of {named}")
        if not self.by.strip():
            raise UsageError("nobody decides this; give your name")
        if any(not 0 < first <= last for first, last in self.hotspots):
            raise UsageError(f"hotspots {self.hotspots} are no ranges of ids")


def pack_ids(ids: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return ids as ranges.

    Examples
    --------
    >>> pack_ids([7, 1, 2, 3])
    ((1, 3), (7, 7))
    """
    ordered = np.unique(np.fromiter(ids, np.int64))
    if not len(ordered):
        return ()
    first = np.flatnonzero(np.diff(ordered, prepend=ordered[0] - 2) > 1)
    last = np.append(first[1:], len(ordered)) - 1
    return tuple(zip(ordered[first].tolist(), ordered[last].tolist(), strict=True))


def unpack_ids(ranges: Sequence[tuple[int, int]]) -> list[int]:
    """Return the ids of ranges."""
    return [number for first, last in ranges for number in range(first, last + 1)]


def start_file(hotspots: str) -> str:
    """Return the first line of a file.

    Parameters
    ----------
    hotspots
        Digest of the hotspots that are reviewed.
    """
    return _seal({"format": _FORMAT, "hotspots": hotspots}, "")


def format_decision(decision: Decision, before: str) -> str:
    """Return the line of a decision.

    Parameters
    ----------
    before
        The line before.
    """
    values = {name: value for name, value in asdict(decision).items() if value}
    return _seal(values, json.loads(before)[_DIGEST])


def parse_file(text: str) -> tuple[str, list[Decision], str]:
    """Return the digest of the hotspots that a file is of, its decisions, and its last line.

    Raises
    ------
    IncompleteError
        When a line is not what was written, or not in its place.
    """
    *whole, _ = text.split("\n")  # not splitlines: comments may have other breaks in them
    decisions: list[Decision] = []
    digest = ""
    head: dict[str, Any] = {"hotspots": ""}
    for number, line in enumerate(whole, 1):
        try:
            values = json.loads(line)
            found = values.pop(_DIGEST)
            if _seal(values, digest) != line:
                raise ValueError("its digest is another")
            if number == 1:
                head = values
            else:
                decisions.append(_read_decision(values))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IncompleteError(
                f"line {number} is not as it was written ({error}); restore the file, or remove "
                "this line and those after it"
            ) from None
        digest = found
    if whole and head.get("format") != _FORMAT:
        raise IncompleteError(
            f"it is of format {head.get('format')}, not {_FORMAT}; update hotscan"
        )
    return str(head["hotspots"]), decisions, whole[-1] if whole else ""


def _read_decision(values: dict[str, Any]) -> Decision:
    ranges = tuple((int(first), int(last)) for first, last in values.pop("hotspots"))
    return Decision(hotspots=ranges, **values)


def _seal(values: dict[str, Any], before: str) -> str:
    """Return a line with its digest."""
    content = json.dumps(values, ensure_ascii=False)
    digest = hashlib.blake2b(f"{before}\n{content}".encode(), digest_size=16).hexdigest()
    return json.dumps({**values, _DIGEST: digest}, ensure_ascii=False)


def apply_decision(state: Bytes, decision: Decision) -> None:
    """Enter a decision into (n,) states."""
    if decision.what != COMMENT:
        for first, last in decision.hotspots:
            state[first - 1 : last] = STATES.index(decision.what)


def list_notes(decisions: Iterable[Decision], hotspot: int) -> list[Decision]:
    """Return what was decided of a hotspot and said of it, in order."""
    return [
        each for each in decisions
        if any(first <= hotspot <= last for first, last in each.hotspots)
    ]  # fmt: skip

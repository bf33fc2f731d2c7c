"""When a print counts as a defect, how bad it is, and which places are looked at."""

from __future__ import annotations

from pydantic.dataclasses import dataclass

from stages.lithography.checks import CHECKS, Positive, Share, ShareOrAll, Text, require


@dataclass(frozen=True, slots=True, config=CHECKS)
class Limits:
    """When a print counts as a defect."""

    pinch_share: Share
    """Least printed width, as a share of the drawn width."""
    space_share: Share
    """Least printed space, as a share of the drawn space."""
    epe_nm: Positive
    """Largest edge placement error of a straight edge, either way."""
    line_end_epe_nm: Positive
    """Largest edge placement error of a line end, either way."""
    corner_nm: Positive
    """How far a point must be from the nearest corner for its edge to count as straight."""


@dataclass(frozen=True, slots=True, config=CHECKS)
class Contacts:
    """When the print of a contact or via counts as a defect, beside `Limits`."""

    area_share: Share
    """Least printed area, as a share of the drawn area."""
    centre_nm: Positive
    """Furthest that the printed centre may lie from the drawn one."""


@dataclass(frozen=True, slots=True, config=CHECKS)
class Sampling:
    """Limits of the rule checks that choose the sites to scan."""

    space_nm: Positive
    width_nm: Positive
    tip_to_tip_nm: Positive
    line_end_to_side_nm: Positive
    line_end_nm: Positive
    """Longest edge, convex at both ends, that counts as a line end."""


@dataclass(frozen=True, slots=True, config=CHECKS)
class Levels:
    """How bad a hotspot is: level 1 is the worst, 3 everything else that fails.

    They change no verdict, only how results are sorted and counted.
    """

    always_first: tuple[Text, ...] = ("bridge", "open", "missing", "extra")
    """Kinds of defects that are of level 1 at any severity."""
    first_severity: ShareOrAll = 0.1
    """Least severity of level 1, of a hotspot that was simulated."""
    second_severity: ShareOrAll = 0.03
    """Least severity of level 2."""
    first_score: ShareOrAll = 0.99
    """Least score of level 1, of a hotspot that was not simulated."""
    second_score: ShareOrAll = 0.9
    """Least score of level 2."""

    def __post_init__(self) -> None:
        for name in ("severity", "score"):
            first, second = getattr(self, f"first_{name}"), getattr(self, f"second_{name}")
            require(second <= first, f"second_{name}", second, f"at most first_{name}, {first}")

"""Waivers: hotspots that somebody accepted, known by the geometry around what fails.

in       the text of a waiver file, or what is to be waived; the places where hotspots fail
out      the text; which hotspots are waived, by which waiver, and what each waiver is good for
unit     a file
promise  a hotspot is waived only if every place at which it fails has geometry that was there when
         a waiver was given, and fails no worse than it did then; equal waivers give equal text

The geometry of a waiver is what is around the worst defect of each of its hotspots; what is around
their other defects is accepted beside that, not alone. A waiver that was given without simulation
covers nothing that simulation says to fail: it knows no kind of defect.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as checked

from stages.errors import ConfigError
from stages.findings import Failures
from stages.settings import describe_validation_error

SLACK = 0.03
"""How much worse, in severity, a place may fail than when it was waived: what simulation may say
of the same geometry where its samples lie otherwise."""

IN_FORCE, EXPIRED, ELSEWHERE, UNUSED = "in force", "expired", "of another scan", "unused"
"""States of a waiver in a scan: of another one are those of another process, layer, unit or radius;
unused are those whose geometry does not fail any more."""

_HEADER = (
    "# Hotspots that were accepted, written by `hotscan waive`. Keep it in version control.\n"
    "# [waiver.geometry] has the keys of the geometry around what fails worst, with its severity\n"
    "# then; [waiver.beside] those around what else fails there, which is not accepted alone.\n"
)

_CHECKS = ConfigDict(extra="forbid", allow_inf_nan=False)
_Text = Annotated[str, Field(strict=True, min_length=1)]
_Texts = tuple[_Text, ...]
_Length = Annotated[float, Field(strict=True, gt=0)]
_Severity = Annotated[float, Field(strict=True, ge=0)]
_Date = Annotated[date, Field(strict=True)]


def _check_key(key: str) -> str:
    if not re.fullmatch("[0-9a-f]{32}", key):
        raise ValueError("32 hexadecimal digits")
    return key


_Key = Annotated[str, Field(strict=True), AfterValidator(_check_key)]


@dataclass(frozen=True, slots=True)
class Basis:
    """What must be equal for the keys of two scans to be comparable."""

    process: str
    layers: tuple[str, ...]
    dbu_nm: float
    radius_nm: float


@checked(frozen=True, slots=True, config=_CHECKS)
class Waiver:
    """One waiver."""

    id: _Text
    reason: _Text
    by: _Text
    given: _Date
    process: _Text
    layers: _Texts
    dbu_nm: _Length
    radius_nm: _Length
    geometry: Annotated[dict[_Key, _Severity], Field(min_length=1)]
    """Key of the geometry around a place to the worst severity there; 0 where not simulated."""
    beside: dict[_Key, _Severity] = field(default_factory=dict)
    """The same, of what is accepted only in hotspots that have some of `geometry`, too."""
    kinds: _Texts = ()
    """Kinds of defects that were there; none where it was not simulated."""
    what: Annotated[str, Field(strict=True)] = ""
    """What was waived, in words; for people."""
    expires: _Date | None = None
    """The last day that it is in force."""

    @property
    def basis(self) -> Basis:
        """What a scan must equal for the keys to be comparable."""
        return Basis(self.process, self.layers, self.dbu_nm, self.radius_nm)

    def is_expired(self, today: date) -> bool:
        """Whether its last day is over."""
        return self.expires is not None and self.expires < today

    def covers(self, key: str, kind: str, severity: float) -> bool:
        """Whether it covers a place that fails so, alone or beside another."""
        then = self.geometry.get(key, self.beside.get(key))
        known = not kind or kind in self.kinds
        return then is not None and known and severity <= then + SLACK


@checked(frozen=True, slots=True, config=_CHECKS)
class _File:
    format: Literal[1]
    waiver: tuple[Waiver, ...] = ()


_FILE = TypeAdapter(_File)


def parse_waivers(text: str) -> tuple[Waiver, ...]:
    """Return the waivers of a file.

    Raises
    ------
    ConfigError
        When the text is no TOML, or a key or value is refused.
    """
    try:
        waivers = _FILE.validate_python(tomllib.loads(text)).waiver
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"it is not TOML: {error}") from None
    except ValidationError as error:
        raise ConfigError(describe_validation_error(_File, error)) from None
    twice = [name for name, times in Counter(each.id for each in waivers).items() if times > 1]
    if twice:
        raise ConfigError(f"id {twice[0]} is there more than once; give each waiver its own")
    return waivers


def format_waivers(waivers: Iterable[Waiver]) -> str:
    """Return the text of a file: by day and id, so that two branches seldom touch one line."""
    ordered = sorted(waivers, key=lambda each: (each.given, each.id))
    return _HEADER + tomli_w.dumps({"format": 1, "waiver": [_list_values(w) for w in ordered]})


def _list_values(waiver: Waiver) -> dict[str, Any]:
    names = ("id", "reason", "by", "given", "expires", "what", "kinds", "process", "layers",
             "dbu_nm", "radius_nm")  # fmt: skip
    values = {name: getattr(waiver, name) for name in names}
    values = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items() if value is not None
    }  # fmt: skip
    values["geometry"] = dict(sorted(waiver.geometry.items()))
    return values | ({"beside": dict(sorted(waiver.beside.items()))} if waiver.beside else {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """Who waives something, why, and how long."""

    reason: str
    by: str
    given: date
    expires: date | None = None


def make_waiver(failures: Failures, basis: Basis, grounds: Grounds, what: str) -> Waiver:
    """Return the waiver of hotspots, as they fail now.

    Raises
    ------
    ConfigError
        When there is no reason, no name, nothing that fails, or it would have expired already.
    """
    if grounds.expires is not None and grounds.expires < grounds.given:
        raise ConfigError(
            f"the waiver would have expired on {grounds.expires}, before it is given "
            f"({grounds.given}); choose a later day"
        )
    worst: dict[str, float] = {}
    for key, severity in zip(failures.key, failures.severity.tolist(), strict=True):
        worst[key] = max(severity, worst.get(key, 0.0))
    main = {key for key, is_main in zip(failures.key, failures.main, strict=True) if is_main}
    told = (basis, grounds, sorted(main), sorted(worst.items()), sorted(set(failures.kind)))
    name = f"w-{hashlib.blake2b(repr(told).encode(), digest_size=5).hexdigest()}"
    try:
        return Waiver(
            id=name, reason=grounds.reason.strip(), by=grounds.by.strip(), given=grounds.given,
            process=basis.process, layers=basis.layers, dbu_nm=basis.dbu_nm,
            radius_nm=basis.radius_nm, geometry={key: worst[key] for key in main},
            beside={key: value for key, value in worst.items() if key not in main},
            kinds=tuple(sorted(set(failures.kind) - {""})), what=what, expires=grounds.expires,
        )  # fmt: skip
    except ValidationError as error:
        raise ConfigError(describe_validation_error(Waiver, error)) from None


@dataclass(frozen=True, slots=True)
class WaiverUse:
    """What a waiver is good for in a scan."""

    waiver: Waiver
    state: str
    """`IN_FORCE`, `EXPIRED`, `ELSEWHERE` or `UNUSED`."""
    hotspots: int
    """Hotspots that it covers; of an expired one, those that it would cover."""

    def describe(self) -> str:
        """Return a line on it."""
        waiver = self.waiver
        until = f" until {waiver.expires}" if waiver.expires else ""
        return (
            f"{waiver.id} {self.state}{until}, {self.hotspots} hotspots: {waiver.reason} "
            f"({waiver.by}, {waiver.given})"
        )


@dataclass(frozen=True, slots=True)
class Waived:
    """The waivers of a scan."""

    by: Mapping[int, tuple[Waiver, ...]] = field(default_factory=dict)
    """Id of each hotspot that is waived to its waivers."""
    uses: tuple[WaiverUse, ...] = ()
    """All waivers."""

    @property
    def expired(self) -> tuple[WaiverUse, ...]:
        """Those that are over and would still be needed."""
        return tuple(use for use in self.uses if use.state == EXPIRED and use.hotspots)


def apply_waivers(
    waivers: Sequence[Waiver], failures: Failures, basis: Basis, today: date
) -> Waived:
    """Return which hotspots are waived today."""
    ours = [waiver for waiver in waivers if waiver.basis == basis]
    good = [waiver for waiver in ours if not waiver.is_expired(today)]
    over = [waiver for waiver in ours if waiver.is_expired(today)]
    by = _find_covered(good, failures)
    lapsed = _find_covered([*good, *over], failures)  # with those that are over
    counts = Counter(waiver.id for found in by.values() for waiver in found)
    lost = Counter(
        waiver.id for spot, found in lapsed.items() if spot not in by for waiver in found
    )
    uses = []
    for waiver in waivers:
        covered = lost[waiver.id] if waiver in over else counts[waiver.id]
        state = (
            ELSEWHERE if waiver not in ours else EXPIRED if waiver in over
            else IN_FORCE if covered else UNUSED
        )  # fmt: skip
        uses.append(WaiverUse(waiver, state, covered))
    return Waived(by, tuple(uses))


def _find_covered(waivers: Sequence[Waiver], failures: Failures) -> dict[int, tuple[Waiver, ...]]:
    """Return the hotspots whose every place is covered, and by which waivers."""
    by_key: dict[str, list[Waiver]] = {}
    for waiver in waivers:
        for key in {**waiver.geometry, **waiver.beside}:
            by_key.setdefault(key, []).append(waiver)
    severity = failures.severity.tolist()
    # Without simulation it is not known which place is the worst: scores of clips may change.
    is_worst = [main and kind for main, kind in zip(failures.main, failures.kind, strict=True)]
    covered = {}
    for spot, rows in failures.list_hotspots():
        fitting = [
            [each for each in by_key.get(failures.key[row], ())
             if each.covers(failures.key[row], failures.kind[row], severity[row])
             and (failures.key[row] in each.geometry or not is_worst[row])]
            for row in rows
        ]  # fmt: skip
        # A waiver is of use for the places beside only where it is for one of its own.
        own = {each.id for row, found in zip(rows, fitting, strict=True)
               for each in found if failures.key[row] in each.geometry}  # fmt: skip
        chosen = [next((each for each in found if each.id in own), None) for found in fitting]
        needed = {each.id: each for each in chosen if each is not None}
        if None not in chosen:
            covered[spot] = tuple(needed.values())
    return covered

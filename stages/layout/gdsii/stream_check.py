"""Check an untrusted GDSII stream, so that its reader need not, and find its elements meanwhile.

in: the bytes of an uncompressed GDSII file · out: a `StreamReport`, or `LayoutError`
unit: the file · promise: in a stream that passes, the reader can rely on grammar, scale and
references; warnings name what has no area or is read in a way that may surprise
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from stages.contracts import Bytes, Int64s, Layer
from stages.errors import LayoutError
from stages.layout.gdsii.collect import Tables, make_tables
from stages.layout.gdsii.grammar import (
    DATA_BYTES,
    DATA_TYPE,
    MUST_HAVE,
    PLACES,
    Record,
    State,
    list_record_names,
)
from stages.layout.gdsii.index import (
    StreamIndex,
    cut_tables,
    encode_layers,
    index_tables,
    join_tables,
    list_names,
)
from stages.layout.gdsii.names import number_names
from stages.layout.gdsii.summary import ShapeSummary
from stages.layout.gdsii.walk import Slot, Walk, start_walk, walk
from stages.layout.references import check_depth, drop_undefined, find_first_uses, quote_name

_FAULTS = (
    "",
    "a record of {value} bytes; the smallest has 4",
    "the file ends inside {record}, a record of {value} bytes",
    "record type 0x{code:02x} does not exist in GDSII",
    "{record} has data type {value}; it must be {data_type}",
    "{record} has {value} bytes of data; it must be {data_bytes}",
    "{record} may not come {place}",
    "{record} a second time {place}",
    "no {missing} {place}",
    "UNITS a second time",
    "UNITS has a value that is not over 0, so there is no scale",
    "{record} before UNITS, so there is no scale",
    "XY with {value} points {place}",
    "COLROW is {value}; 0 to 32767 are allowed",
    "MAG is not over 0",
    "{record} comes too late {place}",
    "the file ends without ENDLIB",
)
_NOTES = (
    "left out {n} BOUNDARY, BOX or PATH with too few points to have an area",
    "drew {n} PATH of one point as a dot",
    "left out {n} PATH without WIDTH, so without area",
    "drew {n} PATH of negative width as of that width: magnified references scale it, and its ends "
    "of type 1 or 2 are drawn in by half of it",
    "drew {n} PATH of a type other than 0, 1, 2 and 4 as of type 0",
    "closed {n} BOUNDARY whose last point is not the first",
    "joined the XY records of {n} BOUNDARY or PATH that have several",
    "placed {n} SREF or AREF with absolute magnification or rotation as if relative",
    "rounded {n} AREF whose step is no whole number of dbu",
    "placed {n} AREF of 0 columns or rows as of 1",
    "used only the first point of {n} SREF that have several",
    "skipped {n} LIBDIRSIZE, SRFNAME, LIBSECUR or STRCLASS, which other readers refuse",
    "met {n} elements longer than --reader-extent-mm allows: damaged, or on layers that are not "
    "scanned",
)

_FIRST_ROWS, _MOST_ROWS = 1 << 10, 1 << 22  # of the tables of a part of the walk
_USUAL_BYTES = 64  # of an element


@dataclass(frozen=True, slots=True)
class StreamReport:
    """Facts of a stream that passed the check."""

    dbu_nm: float
    """Database unit, in nm."""
    cells: int
    """Number of structures."""
    warnings: tuple[str, ...]
    """Messages for the user about harmless faults."""
    index: StreamIndex = field(repr=False, compare=False)
    """Where its elements are."""


def check_stream(
    data: Bytes, layers: Sequence[Layer] | None = (), *, extent_mm: float = 100.0
) -> StreamReport:
    """Check the records of a GDSII file, and the references between its structures.

    Parameters
    ----------
    data
        (n,) bytes of the uncompressed file.
    layers
        Each once: of shapes that are to be read; None for all.
    extent_mm
        A longer element is named in a warning.

    Raises
    ------
    LayoutError
        For a fault with no safe reading; gives the byte offset, the structure and the fault.

    Notes
    -----
    GDSII has no checksum: a damaged coordinate, layer or name that is still plausible goes
    unnoticed.
    """
    return StreamCheck(layers, extent_mm=extent_mm).report(data)


class StreamCheck:
    """An incremental `check_stream`, which can start while the file is still being unpacked.

    With a `summary`, which is filled, shapes are not kept.
    """

    def __init__(
        self,
        layers: Sequence[Layer] | None = (),
        *,
        extent_mm: float,
        summary: ShapeSummary | None = None,
    ) -> None:
        self._extent_mm, self._summary = extent_mm, summary
        self._wanted = encode_layers(layers)
        self._walk: Walk = start_walk()
        self._parts: list[Tables] = []

    @property
    def is_over(self) -> bool:
        """Whether ENDLIB has been seen."""
        return bool(self._walk[0][Slot.ENDED])

    @property
    def has_fault(self) -> bool:
        """Whether a fault has been seen."""
        return bool(self._walk[0][Slot.FAULT])

    def advance(self, data: Bytes) -> None:
        """Check the next complete records of `data`, the part of the file unpacked so far."""
        self._continue(_freeze(data), False)

    def report(self, data: Bytes) -> StreamReport:
        """Check the rest of `data`, now the whole file, and return the report."""
        frozen = _freeze(data)
        self._continue(frozen, True)
        tables = join_tables(self._parts)
        slots, _, notes, dbu_m, _ = self._walk
        if slots[Slot.FAULT]:
            raise LayoutError(_explain(frozen, slots, tables[0]))
        warnings = [
            text.format(n=count) + f" (first at byte {first})"
            for (count, first), text in zip(notes.tolist(), _NOTES, strict=True)
            if count
        ]
        names = list_names(frozen, tables)
        number = number_names(frozen, names)
        placed = _collect_references(frozen, names, number, tables)
        warnings += _find_control_characters(placed)
        warnings += drop_undefined(placed)
        check_depth(placed)
        end = int(slots[Slot.AT])
        if frozen[end:].any():
            warnings.append(f"ignored {len(frozen) - end} bytes after ENDLIB (first at byte {end})")
        index = index_tables(tables, number, self._wanted, float(dbu_m[0]), self._summary)
        return StreamReport(index.dbu_m * 1e9, len(placed), tuple(warnings), index)

    def _continue(self, data: Bytes, whole: bool) -> None:
        is_full, most = True, min(_FIRST_ROWS + len(data) // _USUAL_BYTES, _MOST_ROWS)
        while is_full:
            tables = make_tables(most)
            rows = np.zeros(len(tables), np.int64)
            walk(data, whole, self._extent_mm, self._wanted, self._walk, tables, rows)
            part = cut_tables(tables, rows.tolist())
            self._parts.append(self._summary.take(data, part) if self._summary else part)
            is_full = rows.max() == most


def _freeze(data: Bytes) -> Bytes:
    """Return a read-only view, so that the kernel compiles for one type of array only."""
    frozen = data.view(np.ndarray)
    frozen.flags.writeable = False
    return frozen


def _explain(data: Bytes, slots: Int64s, cells: Int64s) -> str:
    at, state = int(slots[Slot.AT]), int(slots[Slot.STATE])
    code = int(data[at + 2]) if at + 4 <= len(data) else 0
    size = int(DATA_BYTES[code])
    missing = list_record_names(int(MUST_HAVE[state] & ~slots[Slot.SEEN]))
    text = _FAULTS[slots[Slot.FAULT]].format(
        value=int(slots[Slot.VALUE]),
        code=code,
        record=Record(code).name if DATA_TYPE[code] != 255 else f"0x{code:02x}",
        data_type=int(DATA_TYPE[code]),
        data_bytes="a multiple of 8" if size == -8 else size,
        place=PLACES[state],
        missing=" or ".join(missing or ["STRING"]),
    )
    if state < State.CELL or not len(cells):
        return f"byte {at}: {text}"
    offset, length = cells[-1].tolist()
    return f"byte {at} in structure {quote_name(data[offset : offset + length].tobytes())}: {text}"


def _collect_references(
    data: Bytes, names: Int64s, number: Int64s, tables: Tables
) -> dict[bytes, dict[bytes, int]]:
    """Return the structures that each structure places, with the byte of the first reference."""
    cells, references = len(tables[0]), tables[3]
    first = find_first_uses(references[:, 0].copy(), number[cells:], len(names))
    defined = np.column_stack((names[:cells], np.full(cells, -1)))
    used = np.column_stack((names[cells + first], references[first, 5]))
    listed = np.concatenate((defined, used))
    listed = listed[np.argsort(listed[:, 0])]  # as in the file
    view = data.data
    placed: dict[bytes, dict[bytes, int]] = {}
    defined_at: dict[bytes, int] = {}
    here: dict[bytes, int] = {}
    for offset, length, element_at in listed.tolist():
        name = bytes(view[offset : offset + length]).rstrip(b"\0")
        _check_name(name, offset - 4)
        if element_at >= 0:
            here[name] = element_at
        elif name in placed:
            raise LayoutError(
                f"byte {offset - 4}: structure {quote_name(name)} a second time (first at byte "
                f"{defined_at[name]}); which one its references mean is unknown"
            )
        else:
            here = placed[name] = {}
            defined_at[name] = offset - 4
    return placed


def _find_control_characters(names: Iterable[bytes]) -> list[str]:
    """Return a warning if names have control characters, which suggests damage."""
    odd = [quote_name(name) for name in names if min(name) < 32]
    return [f"control characters in {len(odd)} names, as {odd[0]}: damaged?"] if odd else []


def _check_name(name: bytes, at: int) -> None:
    if not name or b"\0" in name:  # a wrong record length swallows the next records
        raise LayoutError(f"byte {at}: name {quote_name(name)} is empty, or has a NUL within")

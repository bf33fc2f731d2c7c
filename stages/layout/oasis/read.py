"""Read the records of an OASIS file.

in: the bytes of an OASIS file, the layers, a limit on its unpacked size
out: `OasisFile`: shapes, placements and repetitions as in the file, with names resolved
unit: the file · promise: every record is checked; damage gives a `LayoutError` with byte and cell,
or a warning; time and memory are bounded by the size of the file
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stages.contracts import Bytes, Floats, Int64s, Layer
from stages.errors import LayoutError
from stages.layout.gdsii.names import number_names
from stages.layout.limits import advise_raising
from stages.layout.oasis.grammar import (
    END_BYTES,
    FAULTS,
    MAGIC,
    NOTES,
    RECORDS,
    Fault,
    Record,
    Slot,
    Stop,
    name_modal,
)
from stages.layout.oasis.names import OF_CELL, OF_LAYER, OF_PROPERTY, OF_STRING, OF_TEXT
from stages.layout.oasis.shapes import PLACED
from stages.layout.oasis.walk import Tables, create_tables, read_end, read_start, walk
from stages.layout.references import check_depth, drop_undefined, escape_name, quote_name

MOST_DEFLATED = 1032
"""Most bytes that one byte of a deflate stream unpacks to (RFC 1951)."""
_SCHEMES: dict[int, tuple[str, Callable[[Bytes], int]]] = {
    1: ("CRC32", lambda data: zlib.crc32(data.data)),
    2: ("CHECKSUM32", lambda data: int(data.sum(dtype=np.uint64)) % 2**32),
}
"""Validation schemes of the END record."""
ADVICE = "; export or fetch it again"
_NAMED_BY = {
    OF_CELL: "CELLNAME", OF_TEXT: "TEXTSTRING", OF_PROPERTY: "PROPNAME", OF_STRING: "PROPSTRING",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class OasisFile:
    """Shapes of a file on the requested layers, and all placements, as in the file."""

    dbu_nm: float
    """Database unit, in nm."""
    names: tuple[str, ...]
    """Names of the cells, escaped if they are not printable."""
    layers: dict[Layer, int]
    """Number of shapes on each layer, repetitions counted once."""
    tags: Int64s
    """(keys,) index into `layers` for each tag of a shape."""
    shapes: Int64s
    """See `stages.layout.oasis.shapes.SHAPE`."""
    pool: Int64s
    """Pairs of x and y that shapes and repetitions refer to."""
    repeated: Int64s
    """(n, 8) columns, rows, steps u and v; offset of the places in the pool, or -1; copies.
    Row 0 is for a single copy."""
    placed: Int64s
    """(n, 7) owner, cell (-1 if not in the file), turn, x, y, repetition, byte."""
    odd: Floats
    """(n, 3) magnification, angle in degrees, mirrored first; row r is for turn ``-1 - r``."""
    warnings: tuple[str, ...]
    """Messages for the user about harmless faults."""


def read_file(
    data: Bytes, layers: Sequence[Layer] | None, unpacked_bytes: int = 64 << 30
) -> OasisFile:
    """Read an OASIS file.

    Parameters
    ----------
    data
        (n,) bytes of the file.
    layers
        Layers whose shapes are kept; None for all.
    unpacked_bytes
        Limit on the unpacked size of its CBLOCKs.

    Raises
    ------
    LayoutError
        With the byte offset, the cell and the fault.
    """
    frozen = data.view(np.ndarray)
    frozen.flags.writeable = False
    slots, tables = create_tables()
    slots[Slot.AT], slots[Slot.END] = len(MAGIC), len(frozen)
    slots[Slot.EVERY] = layers is None
    wanted = np.array([(one.layer, one.datatype) for one in layers or ()], np.int64).reshape(-1, 2)
    unit = read_start(frozen, slots)
    _check_last(frozen, slots)
    tables = _walk_file(frozen, slots, wanted, tables, unpacked_bytes)
    if not slots[Slot.FAULT]:
        warnings = _check_end(frozen, slots)
    if slots[Slot.FAULT]:
        raise LayoutError(_explain(slots, tables))
    return _resolve(slots, tables, unit, warnings)


def _walk_file(
    data: Bytes, slots: Int64s, wanted: Int64s, tables: Tables, unpacked_bytes: int
) -> Tables:
    """Read all records up to END, including those in CBLOCKs; return the tables."""
    left = unpacked_bytes
    while not slots[Slot.FAULT]:
        tables = walk(data, slots, wanted, tables)
        if slots[Slot.STOP] != Stop.CBLOCK:
            break
        unpacked = _unpack(data, slots, left, unpacked_bytes)
        left -= len(unpacked)
        after = slots[Slot.AT] + slots[Slot.PACKED_BYTES]
        slots[Slot.BLOCK], slots[Slot.AT], slots[Slot.END] = slots[Slot.RECORD], 0, len(unpacked)
        tables = walk(unpacked, slots, wanted, tables)
        if not slots[Slot.FAULT]:
            slots[Slot.BLOCK], slots[Slot.AT], slots[Slot.END] = -1, after, len(data)
    return tables


def _unpack(data: Bytes, slots: Int64s, left: int, limit: int) -> Bytes:
    """Unpack the CBLOCK at the cursor."""
    block, begin = int(slots[Slot.RECORD]), int(slots[Slot.AT])
    packed, size = int(slots[Slot.PACKED_BYTES]), int(slots[Slot.BLOCK_BYTES])
    if size > MOST_DEFLATED * (packed + 1):
        raise LayoutError(
            f"byte {block}: CBLOCK of {packed} bytes that would unpack to {size}; they unpack to "
            f"at most {MOST_DEFLATED} times as many{ADVICE}"
        )
    if size > left:
        raise LayoutError(
            f"byte {block}: CBLOCK that unpacks to {size} bytes, after {limit - left}; the limit "
            f"is {limit}: {advise_raising('unpacked_gb')} if it is meant to be so large"
        )
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        unpacked = stream.decompress(data[begin : begin + packed].tobytes(), size + 1)
    except zlib.error as error:
        raise LayoutError(f"byte {block}: CBLOCK is damaged: {error}{ADVICE}") from None
    if len(unpacked) != size or not (stream.eof or not packed):
        raise LayoutError(
            f"byte {block}: CBLOCK is damaged: {packed} bytes unpack to "
            f"{'more' if len(unpacked) > size else 'not'} than the {size} that it says"
            f"{ADVICE}"
        )
    return np.frombuffer(unpacked, np.uint8)


def _check_last(data: Bytes, slots: Int64s) -> None:
    """Check an END in the last 256 bytes first: its checksum is the clearest sign of damage."""
    end = len(data) - END_BYTES
    if end > len(MAGIC) and data[end] == Record.END and not slots[Slot.FAULT]:
        at_end = slots.copy()
        at_end[Slot.AT], at_end[Slot.RECORD] = end + 1, end
        _check_end(data, at_end)


def _check_end(data: Bytes, slots: Int64s) -> list[str]:
    """Check the END record at the cursor; return a warning if bytes follow it.

    Source: SEMI P39, OASIS, section 14.
    """
    end = int(slots[Slot.RECORD])
    after = end + END_BYTES
    if len(data) < after:
        raise LayoutError(
            f"byte {end}: END has {len(data) - end} of its {END_BYTES} bytes: the file is cut off"
            f"{ADVICE}"
        )
    slots[Slot.END] = after
    scheme = int(read_end(data, slots))
    last = int(slots[Slot.AT])
    signature = int.from_bytes(data[last : last + 4].tobytes(), "little")
    name, sum_of = _SCHEMES.get(scheme, ("", None))
    if sum_of and not slots[Slot.FAULT] and sum_of(data[:last]) != signature:
        raise LayoutError(
            f"the {name} in its END record is not that of its bytes: it is damaged{ADVICE}"
        )
    if len(data) == after:
        return []
    return [f"ignored {len(data) - after} bytes after END (first at byte {after})"]


def _explain(slots: Int64s, tables: Tables) -> str:
    fault, code, value = Fault(slots[Slot.FAULT]), int(slots[Slot.CODE]), int(slots[Slot.VALUE])
    text = FAULTS[fault].format(
        whole="CBLOCK" if slots[Slot.BLOCK] >= 0 else "file",
        record=RECORDS[code] if code < len(RECORDS) else "a record",
        code=code,
        value=value,
        where="in a cell" if slots[Slot.IN_CELL] else "outside a cell",
        modal=name_modal(value) if fault == Fault.MODAL else "",
    )
    at = f"byte {slots[Slot.RECORD]}"
    if slots[Slot.BLOCK] >= 0:
        at = f"CBLOCK at byte {slots[Slot.BLOCK]}, byte {slots[Slot.RECORD]} of what it unpacks to"
    if slots[Slot.IN_CELL]:
        at += f", in cell {_name_current_cell(slots, tables)}"
    return f"{at}: {text}{ADVICE}"


def _name_current_cell(slots: Int64s, tables: Tables) -> str:
    text, cells, names, keys = tables[1], tables[7], tables[8], tables[9][0]
    is_name, cell, size, _ = cells[slots[Slot.CELLS] - 1].tolist()
    if is_name:
        return quote_name(_read_name(text, cell, size))
    number = int(keys[cell, 1])
    for space, known, *span, _ in names[: slots[Slot.NAMES]].tolist():
        if space == OF_CELL and known == number:
            return quote_name(_read_name(text, *span))
    return f"number {number}"


def _resolve(slots: Int64s, tables: Tables, unit: float, warnings: list[str]) -> OasisFile:
    """Resolve numbers to names and names to cells; check the hierarchy."""
    pool, text, _, shapes, placed, odd, repeated, cells, names, (keys, _) = tables
    keys, names = keys[: slots[Slot.KEYS]], names[: slots[Slot.NAMES]]
    cells, placed = cells[: slots[Slot.CELLS]], placed[: slots[Slot.PLACED]]
    named = _find_key_names(keys, names, text)
    spans = np.concatenate((_find_spans(cells, named), _find_spans(placed[:, 1:], named)))
    which = number_names(text, spans)
    cell_of = np.full(len(spans) + 1, -1)
    cell_of[which[: len(cells)]] = np.arange(len(cells))
    texts = [_read_name(text, *span) for span in spans[: len(cells)].tolist()]
    _check_cells(texts, cells)
    rows = placed[:, [PLACED.index(name) for name in _KEPT]]
    rows[:, 1] = cell_of[which[len(cells) :]]
    missing = _check_references(rows, texts, text, spans[len(cells) :])
    layers = {
        Layer(int(first), int(second)): int(count)
        for space, first, second, _, count, _ in keys.tolist()
        if space == OF_LAYER
    }
    tags = np.full(len(keys), -1)
    tags[keys[:, 0] == OF_LAYER] = np.arange(len(layers))
    return OasisFile(
        dbu_nm=1000 / unit,
        names=tuple(escape_name(name) for name in texts),
        layers=layers,
        tags=tags,
        shapes=shapes[: slots[Slot.SHAPES]],
        pool=pool[: slots[Slot.POOL]],
        repeated=repeated[: slots[Slot.REPEATED]],
        placed=rows,
        odd=odd[: slots[Slot.ODD]],
        warnings=(*warnings, *_format_warnings(slots), *missing),
    )


_KEPT = ("owner", "cell", "turn", "x", "y", "repetition", "place")


def _find_spans(table: Int64s, named: Int64s) -> Int64s:
    """Return the spans of cell names in the text, (n, 2), given by name or by key."""
    by_key = table[:, 0] == 0
    spans = table[:, 1:3].copy()
    spans[by_key] = named[table[by_key, 1]]
    return spans


def _find_key_names(keys: Int64s, names: Int64s, text: Bytes) -> Int64s:
    """Return the spans in the text of the names that keys refer to, (keys, 2).

    Raises
    ------
    LayoutError
        A number in use has no name, or two.
    """
    known: dict[tuple[int, int], tuple[int, int, int]] = {}
    for space, number, *span, place in names.tolist():
        before = known.setdefault((space, number), (*span, place))
        if before[2] != place and (
            space != OF_CELL or _read_name(text, *span) != _read_name(text, *before[:2])
        ):
            raise LayoutError(
                f"byte {place}: {_NAMED_BY[space]} {number} a second time (first at byte "
                f"{before[2]}){ADVICE}"
            )
    found = np.zeros((len(keys), 2), np.int64)
    numbers: dict[bytes, int] = {}
    for row, (space, number, _, place, _, _) in enumerate(keys.tolist()):
        if space == OF_LAYER:
            continue
        if (space, number) not in known:
            raise LayoutError(
                f"byte {place}: {_NAMED_BY[space]} {number} is used, but it is not in the file"
                f"{ADVICE}"
            )
        found[row] = known[space, number][:2]
        if space == OF_CELL:
            name = _read_name(text, *found[row].tolist())
            if numbers.setdefault(name, number) != number:
                raise LayoutError(
                    f"byte {place}: CELLNAME {numbers[name]} and {number} are both "
                    f"{quote_name(name)}; which one a reference means is unknown{ADVICE}"
                )
    return found


def _read_name(text: Bytes, at: int, size: int) -> bytes:
    return text[at : at + size].tobytes().rstrip(b"\0")


def _check_cells(texts: Sequence[bytes], cells: Int64s) -> None:
    defined_at: dict[bytes, int] = {}
    for name, place in zip(texts, cells[:, 3].tolist(), strict=True):
        if not name:
            raise LayoutError(f"byte {place}: a cell whose name has no characters{ADVICE}")
        if name in defined_at:
            raise LayoutError(
                f"byte {place}: cell {quote_name(name)} a second time (first at byte "
                f"{defined_at[name]}); which one its references mean is unknown{ADVICE}"
            )
        defined_at[name] = place


def _check_references(
    placed: Int64s, texts: Sequence[bytes], text: Bytes, spans: Int64s
) -> list[str]:
    """Check that no cell contains itself; return a warning for cells not in the file."""
    _, first = np.unique(placed[:, 0] * (len(texts) + 1) + placed[:, 1], return_index=True)
    absent = np.flatnonzero(placed[:, 1] < 0)
    places: dict[bytes, dict[bytes, int]] = {name: {} for name in texts}
    for row in np.union1d(first, absent).tolist():
        owner = places[texts[placed[row, 0]]]
        owner.setdefault(_read_name(text, *spans[row].tolist()), int(placed[row, 6]))
    warnings = drop_undefined(places)
    check_depth(places)
    return warnings


def _format_warnings(slots: Int64s) -> list[str]:
    return [
        text.format(n=slots[at]) + f" (first at byte {slots[at + 1]})"
        for at, text in zip(range(Slot.NOTES, Slot.NOTES + 2 * len(NOTES), 2), NOTES, strict=True)
        if slots[at]
    ]

"""Write docs/reference/malformed.md: what hotscan answers to each file of a folder of malformed layouts.

Run as ``python docs/tools/make_malformed.py FOLDER > docs/reference/malformed.md``.
"""

from __future__ import annotations

import sys
from pathlib import Path

from pipeline.layout.ingest import read_layout
from stages.contracts import Layer
from stages.errors import HotscanError

MADE_WRONG = {
    "aref_2pts.gds": "AREF with two points instead of three",
    "aref_neg_cols.gds": "AREF with -3 columns",
    "bitflip_00.gds": "1 bit: type of an ENDEL",
    "bitflip_02.gds": "1 bit: a corner moved by 32 nm",
    "bitflip_04.gds": "2 bits: a corner moved by 134 mm, another by 8 nm",
    "bitflip_06.gds": "2 bits: type of an ENDEL; 67 became 195 in a LAYER",
    "bitflip_08.gds": "3 bits: type of a LAYER; corners moved by 16 um and by 268 mm",
    "bitflip_10.gds": "3 bits: length of two XY; a letter of a TEXT",
    "bitflip_12.gds": "4 bits: corners moved by 8 nm, 67 mm and 268 mm; a TEXTTYPE",
    "bitflip_14.gds": "4 bits: data type of an ENDEL; type of a BOUNDARY; two corners moved",
    "bitflip_16.gds": "5 bits: length of two LAYER; type of ENDLIB; two corners moved",
    "bitflip_18.gds": "5 bits: length of a DATATYPE; type of a TEXT; TEXTTYPE; two corners moved",
    "bomb_10levels_x100.gds": "10 nested arrays of 100: 10^20 shapes, 1.3 m wide",
    "coords_int32_extreme.gds": "a rectangle over the whole range of 32 bits, 4.3 m wide",
    "deep_5000.gds": "5,001 levels of hierarchy",
    "dup_structure_name.gds": "two structures of the same name",
    "empty_struct_name.gds": "STRNAME without a name",
    "layer_32767.gds": "nothing: layer and datatype 32767 are allowed",
    "missing_endel.gds": "BOUNDARY without ENDEL",
    "no_layer_record.gds": "BOUNDARY without LAYER and DATATYPE",
    "one_byte.gds": "one byte",
    "random_4k.gds": "4,096 random bytes",
    "reclen_2.gds": "a record length of 2",
    "reclen_65535.gds": "a record length past the end of the file",
    "rectype_unknown.gds": "an unknown record type in place of an ENDEL",
    "sref_cycle.gds": "A places B, B places A",
    "sref_undefined.gds": "the only element places a structure that is not there",
    "trailing_garbage.gds": "777 bytes after ENDLIB",
    "trunc_50pct.gds": "the second half is missing",
    "trunc_90pct.gds": "the last tenth is missing",
    "units_missing.gds": "no UNITS",
    "units_zero.gds": "UNITS of zero",
    "xy_empty.gds": "the only BOUNDARY has no points",
    "xy_unclosed.gds": "BOUNDARY whose last point is not its first",
}
"""What was made wrong, by file; found by comparing with the intact layout."""

LAYERS = {"layer_32767.gds": Layer(32767, 32767)}
MET1 = Layer(68, 20)

HEADING = """\
# What malformed files get

Written by `docs/tools/make_malformed.py`; a test compares it with what the program does.

Each file is read as a scan of layer 68/20 reads it (32767/32767 for the file that has only that). \
Exit code 0 is a scan of what is drawn, with the fault among the warnings of the run (an error \
under `--strict`); 3 refuses the file; 2 is a layer that the file does not have.

GDSII has no checksum. A flipped bit that leaves a plausible coordinate, layer or name cannot be \
told from a drawn one: `bitflip_02` reads as if it were meant, here and in every other reader. A \
side of more than `extent_mm` (100 mm; a reticle field has 33 mm) is never plausible. OASIS can \
carry a CRC32 or CHECKSUM32, which is verified: write layouts that travel as OASIS with one.

| file | what is wrong | exit | answer |
|---|---|---|---|
"""


def row(path: Path) -> str:
    """Return the table row of one file, as a scan would answer."""
    try:
        layout = read_layout(path, [LAYERS.get(path.name, MET1)])
        code, told = 0, "; ".join(layout.warnings) or "no warning"
        text = f"read, {len(layout.packed[0].item_ref)} items; {told}"
    except HotscanError as error:
        code, text = error.exit_code, str(error).removeprefix(f"{path}: ")
    return f"| `{path.name}` | {MADE_WRONG[path.name]} | {code} | {text} |\n"


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    sys.stdout.write(HEADING + "".join(row(folder / name) for name in MADE_WRONG))

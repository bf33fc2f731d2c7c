"""Damage layouts at random, and hold what is read of them against KLayout.

python -m benchmarks.faults.fuzz_readers [gdsii|oasis] [--mutants N] [--seed S]
    [--keep FOLDER] [FILE ...]

Without FILEs, small layouts that have every record are damaged. Each mutant has one to three of:
a bit flipped, a byte changed, bytes lost, doubled or put in, the rest cut off. It must be refused,
or give KLayout's region (within slivers of 2 dbu, where curves are rounded), or a warning. The
number of a mutant and the seed say what it is. Exit code 1 where one differs, dies or hangs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.contracts import Layer, PackedLayer
from stages.errors import HotscanError
from stages.layout.oasis.grammar import MAGIC

SECONDS = 20.0
"""Longer than this is a hang."""
MOST_SHAPES = 100_000
"""Placed shapes up to which regions are compared; of more, their boxes."""
KINDS = 5 * ("bit",) + 4 * ("byte",) + 2 * ("lose", "double", "add") + ("cut",)
BAD = ("different", "died", "hung")
SAMPLES = Path(__file__).resolve().parents[2] / "sample_layouts"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of one mutant."""

    kind: str
    """refused, equal, warned, different, died, hung; or unknown, where KLayout dies or hangs."""
    ours: str
    """What our reader said."""
    theirs: str
    """What KLayout said."""


def mutate(data: bytes, seed: str) -> bytes:
    """Return damaged bytes; the same for the same seed."""
    chance, damaged = random.Random(seed), bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 3))):
        at = chance.randrange(max(len(damaged), 1))
        size = chance.choice((1, 1, 2, 4, 16))
        match chance.choice(KINDS):
            case "bit":
                bit = 1 << chance.randrange(8)
                damaged[at : at + 1] = bytes(byte ^ bit for byte in damaged[at : at + 1])
            case "byte":
                damaged[at : at + 1] = chance.randbytes(1)
            case "lose":
                del damaged[at : at + size]
            case "double":
                damaged[at:at] = damaged[at : at + size]
            case "add":
                damaged[at:at] = chance.randbytes(size)
            case _:
                del damaged[at:]
    return bytes(damaged)


def sources(kind: str, folder: Path) -> list[Path]:
    """Write the layouts that are damaged when none is given; return their files."""
    import klayout.db as kdb

    from tests.support.oasis import every_record, oasis

    if kind == "gdsii":
        made = folder / "klayout.gds"
        layout = kdb.Layout()
        layout.read(str(SAMPLES / "tiny.oas"))
        layout.write(str(made))
        return [SAMPLES / "tiny.gds", made]
    files = [SAMPLES / "tiny.oas"]
    for scheme in (0, 1, 2):
        files.append(folder / f"every_{scheme}.oas")
        files[-1].write_bytes(oasis(*every_record(), scheme=scheme))
    for packed, strict, level in ((False, False, 0), (False, True, 10), (True, True, 2)):
        options = kdb.SaveLayoutOptions()
        options.format = "OASIS"
        options.oasis_write_cblocks, options.oasis_strict_mode = packed, strict
        options.oasis_compression_level = level
        layout = kdb.Layout()
        layout.read(str(SAMPLES / "tiny.gds"))
        files.append(folder / f"klayout_{packed}_{strict}_{level}.oas")
        layout.write(str(files[-1]), options)
    return files


class Pair:
    """A process that reads files by both readers; another one when it dies or hangs."""

    def __init__(self) -> None:
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(  # unbuffered: `select` must see what is there
            [sys.executable, "-m", "benchmarks.faults.fuzz_readers", "--serve"], bufsize=0,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()  # its kernels are there
        return process

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def judge(self, path: Path) -> Verdict:
        """Read a file by both readers, and compare."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{path}\n".encode())
        ours = self._answer()
        if ours is None or not isinstance(ours, list):
            return Verdict("hung" if ours is None else "died", "", "")
        theirs = self._answer()
        if theirs is None or not isinstance(theirs, list):
            return Verdict("unknown" if ours[0] != "refused" else "refused", ours[1], "no answer")
        return Verdict(_kind(ours, theirs), ours[1], f"{theirs[0]}: {theirs[1]}")

    def _answer(self) -> object:
        """Return the next answer; None after `SECONDS` without one, False at the end."""
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], SECONDS)
        line = self._process.stdout.readline() if ready else b""
        if line:
            return json.loads(line)
        self.close()
        self._process = self._start()
        return False if ready else None


def _kind(ours: Sequence[str], theirs: Sequence[str]) -> str:
    if ours[0] != "read":
        return ours[0]
    return "equal" if theirs[0] == "equal" else "different"


def read_ours(path: Path) -> tuple[str, str, PackedLayer | None, str, Layer | None]:
    """Return refused, warned or read; why; the layer that was read, its top cell, which it is."""
    from stages.layout.builder import pack_layout
    from stages.layout.gdsii.stream_check import check_stream

    layer = Layer(1, 0) if "every" in path.name else Layer(68, 20)
    warnings: tuple[str, ...] = ()
    try:
        data = np.fromfile(path, np.uint8)
        if data[: len(MAGIC)].tobytes() != MAGIC:
            warnings = check_stream(data).warnings
        layout = pack_layout(path, [layer], None)
    except HotscanError as error:
        return "refused", str(error), None, "", None
    warnings = (*warnings, *layout.warnings)
    kind = "warned" if warnings else "read"
    return kind, "; ".join(warnings), layout.packed[0], layout.top, layer


def compare(path: Path, packed: PackedLayer | None, top: str, layer: Layer | None) -> list[str]:
    """Return equal, refused or different, and what KLayout has instead."""
    import klayout.db as kdb

    from tests.support.regions import is_within_slivers, region_of

    oracle, options = kdb.Layout(), kdb.LoadLayoutOptions()
    options.properties_enabled = False  # we read none, so errors in their values do not count
    try:
        oracle.read(str(path), options)
    except RuntimeError as error:
        return ["refused", str(error)]
    if packed is None or layer is None:
        return ["read", ""]
    tops = [cell.name for cell in oracle.top_cells()]
    if len(tops) != 1 or (tops[0] != top and "\\" not in top):
        return ["different", f"tops {tops} and {top!r}"]
    index = oracle.layer(layer.layer, layer.datatype)
    drawn = kdb.Region(oracle.top_cell().begin_shapes_rec(index))
    if drawn.count() > MOST_SHAPES:
        box = drawn.bbox()
        theirs = (box.left, box.bottom, box.right, box.top)
        ours = None if packed.box is None else packed.box.as_tuple()
        return ["equal", ""] if theirs == ours else ["different", f"box {theirs} and {ours}"]
    mine = region_of(packed)
    equal = is_within_slivers(mine, drawn, 2)
    return ["equal", ""] if equal else ["different", str((mine ^ drawn).bbox())]


def serve() -> None:
    """Answer for each path of the standard input, first of our reader, then of KLayout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # KLayout prints its warnings
    for name in ("tiny.gds", "tiny.oas"):
        read_ours(SAMPLES / name)  # the kernels are compiled at the first call
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        path = Path(line.strip())
        kind, why, packed, top, layer = read_ours(path)
        print(json.dumps([kind, why]), file=answers, flush=True)
        print(json.dumps(compare(path, packed, top, layer)), file=answers, flush=True)


def main() -> int:
    """Damage, read, compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", nargs="?", choices=("gdsii", "oasis"), default="oasis")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--mutants", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="number of the first mutant")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="folder for mutants that differ, die or hang")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
        return 0
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        files = options.files or sources(options.kind, Path(name))
        pair = Pair()
        for number in range(options.first, options.first + options.mutants):
            source = files[number % len(files)]
            path = Path(name, f"mutant.{source.name}")
            damaged = mutate(source.read_bytes(), f"{options.seed}.{number}")
            path.write_bytes(damaged)
            verdict = pair.judge(path)
            counts[source.name, verdict.kind] += 1
            if verdict.kind in BAD:
                print(f"{number} {source.name}: {verdict}", flush=True)
                if options.keep:
                    (options.keep / f"{number}.{source.name}").write_bytes(damaged)
        pair.close()
    kinds = ("refused", "equal", "warned", "unknown", *BAD)
    print(f"\n| file | {' | '.join(kinds)} |\n|---|{'--:|' * len(kinds)}")
    for source in files:
        print(f"| {source.name} | " + " | ".join(str(counts[source.name, k]) for k in kinds) + " |")
    return int(any(counts[source.name, kind] for source in files for kind in BAD))


if __name__ == "__main__":
    sys.exit(main())

"""Damaged layouts are refused, or read as KLayout reads them; and the fuzzer sees what is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults.fuzz_readers import compare, mutate, read_ours, sources
from stages.contracts import Layer
from tests.support.oasis import cell, oasis, rectangle

MUTANTS = 60
METAL = Layer(1, 0)


def test_a_mutant_is_what_its_seed_says() -> None:
    data = bytes(range(256))
    assert mutate(data, "1.7") == mutate(data, "1.7") != mutate(data, "1.8")


@pytest.mark.parametrize("kind", ["gdsii", "oasis"])
def test_damaged_layouts_are_refused_or_read_as_klayout_reads_them(
    kind: str, tmp_path: Path
) -> None:
    files, read = sources(kind, tmp_path), 0
    for number in range(MUTANTS):
        source = files[number % len(files)]
        path = tmp_path / f"mutant.{source.name}"
        path.write_bytes(mutate(source.read_bytes(), f"test.{number}"))
        verdict, _, packed, top, layer = read_ours(path)
        if verdict == "read":
            read += 1
            assert compare(path, packed, top, layer) == ["equal", ""], number
    assert 0 < read < MUTANTS


def test_another_region_or_another_top_is_seen(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "every_ours.oas", tmp_path / "theirs.oas"
    ours.write_bytes(oasis(cell(b"TOP"), rectangle(0, 0, 100, 100)))
    _, _, packed, top, _ = read_ours(ours)
    assert compare(ours, packed, top, METAL) == ["equal", ""]
    theirs.write_bytes(oasis(cell(b"TOP"), rectangle(0, 0, 100, 190)))
    assert compare(theirs, packed, top, METAL)[0] == "different"
    theirs.write_bytes(oasis(cell(b"OTHER"), rectangle(0, 0, 100, 100)))
    assert compare(theirs, packed, top, METAL)[0] == "different"
    theirs.write_bytes(oasis(cell(b"TOP"), b"\x63"))
    assert compare(theirs, packed, top, METAL)[0] == "refused"

"""A run of somebody else: nothing in it leads elsewhere, ends the process, or is our fault."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.engine.storage.checksums import digest_files
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run, write_table
from tests.support.small_scan import Hotscan

Forge = Callable[[Path], Any]


@pytest.fixture
def run(reference: Run, tmp_path: Path) -> Path:
    """A copy of a finished scan."""
    return Path(shutil.copytree(reference.path, tmp_path / "run"))


def seal_again(path: Path) -> None:
    """Give the units of a run the digests of what their files are now."""
    with Ledger(Run(path).ledger) as ledger:
        for stage in ("layout", "clips", "patterns", "scores", "hotspots"):
            for outcome in ledger.finished(stage).values():
                ledger.record(replace(outcome, checksum=digest_files(path, outcome.files)))


def commands(path: Path, out: Path) -> dict[str, tuple[object, ...]]:
    return {
        "status": ("status", path),
        "report": ("report", path),
        "export": ("export", path, "-o", out / "x.csv", "--format", "csv"),
        "resume": ("resume", path, "--workers", 0, "--quiet"),
        "select": ("select", path, "-o", out / "d", "--count", 2, "--workers", 0, "--quiet"),
    }


LINKS = ["report", "layout", "clips", "patterns.zarr/score/c", "patterns.zarr/zarr.json",
         "hotspots.parquet", "ledger.sqlite", "run.json", "report/index.html", ".patterns.zarr.tmp",
         ".layout.x.part", "failures", "report/.index.html.tmp"]  # fmt: skip


@pytest.mark.parametrize("name", LINKS)
def test_no_command_follows_a_link(name: str, run: Path, hotscan: Hotscan, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    if (run / name).exists():
        shutil.move(run / name, outside)
    else:
        outside.mkdir()
        (outside / "precious").write_text("x")
    (run / name).symlink_to(outside)
    before = {path: path.read_bytes() for path in outside.rglob("*") if path.is_file()}
    for command in commands(run, tmp_path).values():
        ended = hotscan(*command)
        assert ended.code == 4, command
        assert f"{run / name} is a symbolic link, which is never followed out of {run}" in ended.err
    assert {p: p.read_bytes() for p in outside.rglob("*") if p.is_file()} == before


def test_a_run_may_be_reached_through_a_link(run: Path, hotscan: Hotscan, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(run)
    for name in ("status", "report", "export", "resume"):
        assert hotscan(*commands(tmp_path / "link", tmp_path)[name]).code == 0


def fill(name: str, value: int) -> Forge:
    """Replace an array of the packed layout by one of the same shape with one value."""

    def forge(path: Path) -> None:
        file = path / "layout" / f"0.{name}.npy"
        np.save(file, np.full_like(np.load(file), value))

    return forge


def change_record(**values: Any) -> Forge:
    def forge(path: Path) -> None:
        file = path / "layout" / "layout.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return forge


LAYOUTS: dict[str, tuple[Forge, str]] = {
    "cells": (fill("inst_cell", 2**31 - 1), "inst_cell"),
    "turns": (fill("inst_turn", 200), "inst_turn"),
    "references": (fill("item_ref", 2**31 - 1), "item_ref"),
    "items": (fill("item_start", 2**40), "item_start"),
    "nodes": (fill("node_start", 2**40), "node_start"),
    "objects": (
        lambda path: np.save(path / "layout" / "0.item_ref.npy", np.array([{}])),
        "Python objects",
    ),
    "dbu": (change_record(dbu_nm=float("nan")), "dbu_nm is nan"),
    "no number": (change_record(dbu_nm="one"), "'str'"),
    "layers": (change_record(layers=7), "'int'"),
    "top": (change_record(top=None), "'NoneType'"),
    "list": (lambda path: (path / "layout" / "layout.json").write_text("[]"), "list indices"),
}


@pytest.mark.parametrize("kind", LAYOUTS)
def test_a_forged_layout_is_a_message(
    kind: str, run: Path, hotscan: Hotscan, tmp_path: Path
) -> None:
    forge, message = LAYOUTS[kind]
    forge(run)
    seal_again(run)
    (run / "hotspots.parquet").touch()
    for name in ("report", "export", "resume"):
        ended = hotscan(*commands(run, tmp_path)[name])
        assert ended.code == 3, ended.err
        assert "holds no whole packed layout" in ended.err
        assert message in ended.err


def change_table(name: str, column: str, value: Any) -> Forge:
    def forge(path: Path) -> None:
        (file, *_) = sorted(path.glob(name))
        table = pq.read_table(file)
        at = table.schema.get_field_index(column)
        values = pa.array([value] * len(table), table.schema.field(at).type)
        write_table(file, table.set_column(at, table.schema.field(at), values))

    return forge


def cut(name: str) -> Forge:
    def forge(path: Path) -> None:
        (file, *_) = sorted(path.glob(name))
        file.write_bytes(file.read_bytes()[:-5])

    return forge


TABLES: dict[str, Forge] = {
    "cut clips": cut("clips/*"),
    "cut hotspots": cut("hotspots.parquet"),
    "cut scores": cut("patterns.zarr/score/c/*"),
    "cut metadata": cut("patterns.zarr/score/zarr.json"),
    "cut group": cut("patterns.zarr/zarr.json"),
    "pattern": change_table("hotspots.parquet", "pattern", 10**9),
    "negative pattern": change_table("hotspots.parquet", "pattern", -1),
    "rule": change_table("hotspots.parquet", "rule", "\x1b[31m"),
    "answer": change_table("hotspots.parquet", "answer", "<script>"),
    "key": change_table("hotspots.parquet", "pattern_key", "'"),
    "place": change_table("hotspots.parquet", "x_dbu", 2**63 - 1),
    "score": change_table("hotspots.parquet", "score", float("nan")),
    "id": change_table("hotspots.parquet", "id", 7),
    "box": change_table("hotspots.parquet", "x_min_dbu", 2**40),
    "clip": change_table("clips/*", "x_dbu", -(2**63)),
    "clip rule": change_table("clips/*", "rule", 200),
}


@pytest.mark.parametrize("kind", TABLES)
def test_a_forged_table_is_a_message(
    kind: str, run: Path, hotscan: Hotscan, tmp_path: Path
) -> None:
    """Sealed by whoever forged it, so that its digest holds."""
    TABLES[kind](run)
    seal_again(run)
    if "clip" in kind:  # which are read for the hotspots alone
        with Ledger(Run(run).ledger) as ledger:
            ledger.forget("hotspots")
    ended = hotscan(*commands(run, tmp_path)["resume" if "clip" in kind else "report"])
    assert ended.code in (2, 4), ended.err
    assert "scan into a new run directory" in ended.err or "ends before it begins" in ended.err


def forge_ledger(statement: str) -> Forge:
    def forge(path: Path) -> None:
        db = sqlite3.connect(path / "ledger.sqlite")
        db.executescript(statement)
        db.close()

    return forge


LEDGERS: dict[str, tuple[Forge, int, str]] = {
    "trigger": (forge_ledger("CREATE TRIGGER t AFTER INSERT ON units BEGIN DELETE FROM units; END"),
                2, "is not a ledger of hotscan"),
    "view": (forge_ledger("DROP TABLE units; CREATE VIEW units AS SELECT 1"), 2, "not a ledger"),
    "no table": (forge_ledger("DROP TABLE history"), 2, "is not a ledger of hotscan"),
    "mark": (forge_ledger("PRAGMA application_id = 7"), 2, "is damaged or no ledger"),
    "cut": (lambda path: os.truncate(path / "ledger.sqlite", 9000), 2, "is damaged or no ledger"),
    "text": (lambda path: (path / "ledger.sqlite").write_bytes(b"x" * 9999), 2, "is damaged or no"),
    "missing": (lambda path: (path / "ledger.sqlite").unlink(), 2, "cannot be opened"),
    "folder": (lambda path: ((path / "ledger.sqlite").unlink(), (path / "ledger.sqlite").mkdir()),
               2, "cannot be opened"),
    "blobs": (forge_ledger("UPDATE units SET counts = x'ff00', digest = x'00'"), 0, ""),
}  # fmt: skip


@pytest.mark.parametrize("kind", LEDGERS)
def test_a_ledger_that_is_none_of_ours(
    kind: str, run: Path, hotscan: Hotscan, tmp_path: Path
) -> None:
    forge, code, message = LEDGERS[kind]
    forge(run)
    ended = hotscan(*commands(run, tmp_path)["status"])
    assert (ended.code, message in ended.err) == (code, True), ended.err


def test_a_ledger_that_another_program_holds_is_left_alone(
    run: Path, hotscan: Hotscan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.engine.storage import ledger_file

    monkeypatch.setattr(ledger_file, "BUSY_S", 0.1)
    holder = sqlite3.connect(run / "ledger.sqlite", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    for name in ("status", "resume", "report"):
        ended = hotscan(*commands(run, tmp_path)[name])
        assert ended.code == 4, ended.err
        assert "ledger.sqlite cannot be used (database is locked)" in ended.err
    holder.execute("ROLLBACK")
    holder.close()
    assert not (run / "ledger.sqlite.damaged").exists()
    assert hotscan(*commands(run, tmp_path)["resume"]).code == 0


RECORDS: dict[str, Any] = {
    "a list": [], "settings": {"settings": 7}, "no config": {"settings": {}},
    "seconds": {"seconds": "many"}, "layout": {"layout": {"path": 7, "sha256": None}},
    "state": {"state": "asleep"}, "more": {"colour": 1}, "since": {"settings": {"since": 7}},
}  # fmt: skip


@pytest.mark.parametrize("kind", RECORDS)
def test_a_forged_record_is_a_message(
    kind: str, run: Path, hotscan: Hotscan, tmp_path: Path
) -> None:
    from pipeline.engine.storage import run_record

    values = RECORDS[kind]
    forged = json.dumps(values)
    if isinstance(values, dict):
        before = json.loads((run / "run.json").read_text())
        before.pop("digest")
        if "settings" in values and isinstance(values["settings"], dict) and values["settings"]:
            values = {"settings": before["settings"] | values["settings"]}
        forged = run_record._format(before | values)
    for name in ("run.json", "run.copy.json"):
        (run / name).write_text(forged)
    for name in ("status", "report", "resume", "export"):
        ended = hotscan(*commands(run, tmp_path)[name])
        if name == "status" and ended.code == 0:
            continue  # it needs only what is there
        assert ended.code == 2, (name, ended.err)
        assert "run.json" in ended.err

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.engine.storage.ledger import Ledger, Status, UnitOutcome, running_driver
from stages.errors import IncompleteError, UsageError

DONE = UnitOutcome("clips", "t0", Status.DONE, {"clips": 3, "area_um2": 0.5}, "ab12", 1.5)
EMPTY = UnitOutcome("clips", "t1", Status.EMPTY, {"clips": 0}, "", 0.25)
FAILED = UnitOutcome("clips", "t2", Status.FAILED, seconds=0.25, error="no memory")
CHECKOUT = str(Path(__file__).parents[4])


def python(program: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a program in a Python of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": CHECKOUT},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_outcomes_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.start_session()
        for outcome in (DONE, EMPTY, FAILED):
            ledger.record(outcome)
    with Ledger(path) as ledger:
        assert ledger.finished("clips") == {"t0": DONE, "t1": EMPTY}
        assert ledger.failed("clips") == {"t2": FAILED}
        assert ledger.finished("scores") == {}


def test_a_later_outcome_replaces_an_earlier_one(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.record(FAILED)
        ledger.record(replace(FAILED, status=Status.DONE, error=""))
        assert list(ledger.finished("clips")) == ["t2"]
        assert ledger.failed("clips") == {}


def test_totals_add_up(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        for outcome in (DONE, replace(DONE, unit="t9"), EMPTY, FAILED):
            ledger.record(outcome)
        totals = ledger.totals("clips")
        assert (totals.done, totals.empty, totals.failed) == (2, 1, 1)
        assert totals.seconds == 1.5 + 1.5 + 0.25 + 0.25
        assert totals.counts == {"clips": 6, "area_um2": 1.0}
        assert ledger.totals("scores").counts == {}


def test_times_run_counts_since_the_stage_was_forgotten(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        scores = replace(DONE, stage="scores")
        for outcome in (DONE, DONE, EMPTY, scores):
            ledger.record(outcome)
        assert ledger.times_run() == {("clips", "t0"): 2, ("clips", "t1"): 1, ("scores", "t0"): 1}
        ledger.forget("clips")
        assert ledger.finished("clips") == {}
        assert ledger.finished("scores") == {"t0": scores}
        assert ledger.times_run() == {("scores", "t0"): 1}
        ledger.record(DONE)
        assert ledger.times_run() == {("clips", "t0"): 1, ("scores", "t0"): 1}


def test_sessions_are_numbered_and_history_says_which(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    for number in (1, 2):
        with Ledger(path) as ledger:
            assert ledger.start_session() == number
            ledger.record(replace(DONE, unit=f"t{number}"))
    db = sqlite3.connect(path)
    assert db.execute("SELECT session, unit FROM history ORDER BY id").fetchall() == [
        (1, "t1"),
        (2, "t2"),
    ]
    db.close()


def test_a_second_driver_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    holder = python(
        """
        import sys, time
        from pathlib import Path
        from pipeline.engine.storage.ledger import Ledger
        ledger = Ledger(Path(sys.argv[1]))
        print("held", flush=True)
        time.sleep(60)
        """,
        path,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError, match=f"in use by process {holder.pid} on "):
            Ledger(path)
        running = running_driver(path)
        assert running is not None
        assert running.startswith(f"process {holder.pid} on ")
        with Ledger(path, read_only=True) as onlooker:  # looking is allowed
            assert onlooker.finished("clips") == {}
        holder.kill()
    assert running_driver(path) is None
    Ledger(path).close()


def test_no_driver_where_there_was_never_one(tmp_path: Path) -> None:
    assert running_driver(tmp_path / "ledger.sqlite") is None


def test_what_was_recorded_survives_a_kill(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    for kill_after in (1, 7, 40):
        path.unlink(missing_ok=True)
        writer = python(
            """
            import sys
            from pathlib import Path
            from pipeline.engine.storage.ledger import Ledger, Status, UnitOutcome
            ledger = Ledger(Path(sys.argv[1]))
            for number in range(1_000_000):
                ledger.record(UnitOutcome("clips", f"t{number}", Status.DONE, {"clips": number}))
                print(number, flush=True)
            """,
            path,
        )
        with writer:
            assert writer.stdout is not None
            for _ in range(kill_after):
                last = int(writer.stdout.readline())
            writer.kill()
            promised = [last, *map(int, writer.stdout.read().split("\n")[:-1])][-1]
        with Ledger(path) as ledger:
            finished = ledger.finished("clips")
            # The one row more was committed, but the kill came before it could be printed.
            assert len(finished) - (promised + 1) in (0, 1)
            assert all(outcome.counts["clips"] == int(u[1:]) for u, outcome in finished.items())
            assert set(ledger.times_run().values()) == {1}


def test_reading_while_the_driver_writes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as driver, Ledger(path, read_only=True) as onlooker:
        driver.record(DONE)
        assert onlooker.finished("clips") == {"t0": DONE}


def test_a_closed_ledger_is_one_plain_file(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as driver:
        driver.record(DONE)
    assert {file.name for file in tmp_path.iterdir()} == {"ledger.sqlite", "ledger.sqlite.lock"}
    # Bytes 18 and 19 of the file format: 1 is a rollback journal, 2 a write-ahead log, which
    # cannot be opened in a folder without write permission.
    assert path.read_bytes()[18:20] == b"\x01\x01"


def test_closing_does_not_wait_for_readers(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    driver = Ledger(path)
    driver.record(DONE)
    with Ledger(path, read_only=True) as onlooker:
        assert list(onlooker.finished("clips")) == ["t0"]
        start = time.monotonic()
        driver.close()
        assert time.monotonic() - start < 5
        assert list(onlooker.finished("clips")) == ["t0"]


def test_reading_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger.record(DONE)
    with (
        Ledger(path, read_only=True) as onlooker,
        pytest.raises(IncompleteError, match="readonly"),
    ):
        onlooker.record(EMPTY)


def test_a_missing_ledger_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be opened"):
        Ledger(tmp_path / "ledger.sqlite", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_garbage_is_set_aside_and_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"GDSII stream, not a database" * 100)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="damaged or no ledger"):
        Ledger(path, read_only=True)
    assert path.read_bytes() == before
    with Ledger(path) as ledger:
        assert ledger.finished("clips") == {}
    assert path.with_name("ledger.sqlite.damaged").read_bytes() == before
    assert running_driver(path) is None


def test_another_programs_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE cookies (name)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(UsageError, match="not a ledger of hotscan"):
        Ledger(path)
    assert path.read_bytes() == before


def test_a_damaged_ledger_is_refused_to_readers_and_set_aside_by_a_driver(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        for number in range(500):
            ledger.record(replace(DONE, unit=f"t{number}"))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 2)
        file.write(b"\xff" * (size // 2))
    with pytest.raises(UsageError, match="damaged"):
        Ledger(path, read_only=True)
    with Ledger(path) as ledger:
        assert ledger.finished(DONE.stage) == {}


def test_a_ledger_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 9")
    db.execute("ALTER TABLE units ADD COLUMN since TEXT")
    db.close()
    with pytest.raises(UsageError, match="has version 9"):
        Ledger(path)


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        Ledger(tmp_path / "no" / "ledger.sqlite")


def test_whatever_bit_is_flipped_no_row_is_read_wrongly(tmp_path: Path) -> None:
    """The ledger is used all the same, and says what it lost; its header included."""
    whole = tmp_path / "whole" / "ledger.sqlite"
    whole.parent.mkdir()
    outcomes = {f"t{number}": replace(DONE, unit=f"t{number}") for number in range(9)}
    with Ledger(whole) as ledger:
        for outcome in outcomes.values():
            ledger.record(outcome)
    content, rng, lost = whole.read_bytes(), random.Random(8), 0
    rows = content.index(b"clips")
    places = [*range(0, 100, 3), *(rng.randrange(rows, len(content)) for _ in range(40))]
    for number, place in enumerate(places):
        path = tmp_path / f"{number}" / "ledger.sqlite"
        path.parent.mkdir()
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with Ledger(path) as ledger:
            found = ledger.finished("clips")
            assert found.items() <= outcomes.items()
            assert ledger.damaged or found == outcomes
            lost += len(found) < len(outcomes)
            ledger.record(EMPTY)
    assert lost > 5


def test_a_full_disk_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path) as ledger:
        ledger._db.execute("PRAGMA max_page_count = 1")  # SQLite's own way to be full
        large = replace(DONE, error="x" * 100_000)
        with pytest.raises(IncompleteError, match="free or repair its disk"):
            ledger.record(large)
    assert not path.with_name("ledger.sqlite.damaged").exists()

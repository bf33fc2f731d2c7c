"""Scores of processors that round differently are never mixed: resumed, merged, or reused."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import Resources
from pipeline.engine.events import ArithmeticChanged, Event, ScoresNotReused
from pipeline.engine.storage.checksums import digest_files
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.run_directory import Run
from pipeline.passes.arrays import read_patterns
from pipeline.scan.scan import merge, resume
from stages.arithmetic import Arithmetic
from stages.detector.models import checkpoint
from tests.support.small_scan import DENSE, SmallScan

CHECKOUT = Path(__file__).resolve().parents[3]
SIZES = {"tiles": {"size_um": 12.0}, "scores": {"shard_patterns": 64}, "report": {"top": 0}}
AREA_UM = (50.0, 50.0, 74.0, 74.0)
STOP_AFTER = 3
"""Shards that the other machine scores before it is killed."""

OTHER_MACHINE = """
    import os, signal, sys
    from dataclasses import replace
    from pathlib import Path
    from pipeline.config import Resources, load_config
    from pipeline.engine.events import UnitFinished
    from pipeline.passes.shard import Shard
    from pipeline.scan.request import ScanRequest
    from pipeline.scan.scan import scan

    def stop(event):
        if isinstance(event, UnitFinished) and event.stage == "scores" and event.done == {stop}:
            os.kill(os.getpid(), signal.SIGKILL)

    layout, model, folder = map(Path, sys.argv[1:])
    tables = {sizes}
    tables["layout"] = {{"layers": ["68/20"], "roi_um": {roi}}}
    tables["scores"] |= {{"model": str(model)}}
    config = load_config(None, tables)
    request = ScanRequest(layout=layout, out=folder / "part", config=config, shard=Shard(1, 2))
    scan(request, Resources(workers=0), lambda event: None)
    scan(replace(request, out=folder / "run", shard=None), Resources(workers=0), stop)
"""


@pytest.fixture(scope="module")
def small_scan() -> SmallScan:
    """A scan by a shipped model: the tests' own network is too small to show a difference."""
    return SmallScan(DENSE, checkpoint.find("krf130-met1"), AREA_UM)


@pytest.fixture(
    scope="module",
    params=[
        "ATEN_CPU_CAPABILITY=default",
        pytest.param("ONEDNN_MAX_CPU_ISA=AVX2", marks=pytest.mark.slow),
    ],
)
def elsewhere(
    request: pytest.FixtureRequest, small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with a run that was killed, and part 1 of 2, of a machine that rounds otherwise."""
    folder = tmp_path_factory.mktemp("elsewhere")
    program = textwrap.dedent(OTHER_MACHINE).format(
        stop=STOP_AFTER, sizes=SIZES, roi=small_scan.roi_um
    )
    name, _, value = request.param.partition("=")
    ended = subprocess.run(
        [sys.executable, "-c", program, small_scan.layout, small_scan.model, folder],
        env=os.environ | {name: value, "PYTHONPATH": str(CHECKOUT)}, check=False,
    )  # fmt: skip
    assert ended.returncode == -signal.SIGKILL
    return folder


@pytest.fixture(scope="module")
def here(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The whole scan by this machine."""
    return small_scan(tmp_path_factory.mktemp("here") / "run", **SIZES).run


def read_arithmetics(run: Run) -> dict[str, int]:
    with Ledger(run.ledger, read_only=True) as ledger:
        return {one.fingerprint: n for one, n in ledger.count_arithmetics("scores").items()}


@pytest.fixture(autouse=True)
def _differ(elsewhere: Path, here: Run) -> None:
    if read_arithmetics(Run(elsewhere / "run")).keys() == read_arithmetics(here).keys():
        pytest.skip("this processor computes the same with those instructions")


def assert_all_of_here(run: Run, here: Run) -> None:
    assert read_arithmetics(run).keys() == read_arithmetics(here).keys()
    names = ("key", "score", "embedding")
    for ours, theirs in zip(read_patterns(run, *names), read_patterns(here, *names), strict=True):
        assert np.array_equal(ours, theirs)
    assert run.hotspots.read_bytes() == here.hotspots.read_bytes()


def test_the_scores_of_the_other_machine_differ(elsewhere: Path, here: Run) -> None:
    """Else the tests below would show nothing."""
    keys, scores = read_patterns(Run(elsewhere / "part"), "key", "score")
    known = dict(zip(map(bytes, keys), scores, strict=True))
    pairs = np.array(
        [(known[bytes(key)], score)
         for key, score in zip(*read_patterns(here, "key", "score"), strict=True)
         if bytes(key) in known]
    )  # fmt: skip
    assert len(pairs) > 100
    assert 0 < np.abs(pairs[:, 0] - pairs[:, 1]).max() < 1e-4


def test_a_run_that_another_machine_began_is_scored_again(
    elsewhere: Path, here: Run, tmp_path: Path
) -> None:
    shutil.copytree(elsewhere / "run", tmp_path / "run")
    assert list(read_arithmetics(Run(tmp_path / "run")).values()) == [STOP_AFTER]
    events: list[Event] = []
    result = resume(tmp_path / "run", Resources(workers=0), events.append)
    assert result.complete
    assert_all_of_here(result.run, here)
    (changed,) = [event for event in events if isinstance(event, ArithmeticChanged)]
    assert len(changed.units) == STOP_AFTER


def test_hotspots_of_a_finished_run_follow_scores_that_are_computed_again(
    here: Run, tmp_path: Path
) -> None:
    """A damaged shard is scored by this machine: so are all others, and the hotspots are new."""
    run = Run(shutil.copytree(here.path, tmp_path / "run"))
    run.hotspots.write_bytes(b"of the other scores")
    with Ledger(run.ledger) as ledger:
        for outcome in ledger.finished("scores").values():
            ledger.record(replace(outcome, arithmetic=Arithmetic("other", "another machine")))
        (spots,) = ledger.finished("hotspots").values()
        ledger.record(replace(spots, checksum=digest_files(run.path, spots.files)))
    (run.path / "patterns.zarr/score/c/0").unlink()
    assert_all_of_here(resume(run.path, Resources(workers=0), lambda event: None).run, here)


def test_merge_scores_the_patterns_of_a_part_of_another_machine_again(
    elsewhere: Path, here: Run, tmp_path: Path
) -> None:
    events: list[Event] = []
    result = merge([elsewhere / "part"], tmp_path / "run", Resources(workers=0), events.append)
    assert result.complete
    assert_all_of_here(result.run, here)
    (refused,) = [event for event in events if isinstance(event, ScoresNotReused)]
    assert refused.run == str(elsewhere / "part")
    assert result.metrics["tiles_taken_over"] > 0
    assert result.metrics["patterns_taken_over"] == 0


def test_since_reuses_the_tiles_of_another_machine_but_not_its_scores(
    elsewhere: Path, here: Run, small_scan: SmallScan, tmp_path: Path
) -> None:
    result = small_scan(tmp_path / "run", since=[elsewhere / "run"], **SIZES)
    assert_all_of_here(result.run, here)
    assert result.metrics["tiles_taken_over"] > 0
    assert result.metrics["patterns_taken_over"] == 0

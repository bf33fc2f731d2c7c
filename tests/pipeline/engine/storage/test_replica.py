"""A run in an object store: an S3 server on this machine, and folders that share nothing."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from distributed import Client
from obstore.store import from_url

from benchmarks.speed.object_store import serve_bucket
from pipeline.config import Resources
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.replica import LEASE_S, Mirror, Replica, locate_run, open_store
from pipeline.engine.storage.run_directory import Run
from pipeline.scan.scan import resume
from stages.errors import IncompleteError, UsageError
from tests.pipeline.engine.test_dask_cluster import Cluster
from tests.pipeline.scan.test_kill import Victim, make_victim, wait_for_rows
from tests.support.small_scan import SmallScan

ADDRESS = "s3://bucket/runs/one"
TIMED = ("run.json", "run.copy.json", "ledger.sqlite", "report/metrics.json", "report/index.html")
"""What differs from run to run: it says when, or how long."""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty bucket; the folders of this machine are in the test's own."""
    open_store.cache_clear()
    with serve_bucket() as environment:
        environment["HOTSCAN_REPLICAS"] = str(tmp_path / "driver")
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield ADDRESS
    open_store.cache_clear()


def move(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Go on as another machine, which has nothing."""
    monkeypatch.setenv("HOTSCAN_REPLICAS", str(folder))
    open_store.cache_clear()


def read_store() -> dict[str, bytes]:
    store = from_url(ADDRESS)
    names = [one["path"] for page in obstore.list(store) for one in page]
    return {name: obstore.get(store, name).bytes().to_bytes() for name in names}


def test_the_store_holds_the_bytes_of_a_folder(
    store: str, small_scan: SmallScan, reference: Run
) -> None:
    result = small_scan(locate_run(store), tiles={"size_um": 100.0})
    assert result.metrics["complete"]
    there = read_store()
    local = {
        path.relative_to(reference.path).as_posix(): path.read_bytes()
        for path in reference.path.rglob("*")
        if path.is_file() and not path.name.startswith(".") and path.suffix != ".lock"
    }
    assert local.keys() == there.keys()
    differ = {name for name in local if there[name] != local[name]}
    assert differ <= set(TIMED), differ
    assert there["hotspots.parquet"] == local["hotspots.parquet"]


def test_another_machine_opens_and_resumes_it(
    store: str, small_scan: SmallScan, reference: Run, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    small_scan(locate_run(store))
    move(monkeypatch, tmp_path / "elsewhere")
    there = locate_run(store)
    assert there.is_relative_to(tmp_path / "elsewhere")
    result = resume(there, Resources(workers=0), lambda event: None)
    assert result.run.hotspots.read_bytes() == reference.hotspots.read_bytes()
    with Ledger(result.run.ledger, read_only=True) as ledger:
        assert max(ledger.times_run().values()) == 1


def test_a_damaged_object_is_computed_again(
    store: str, small_scan: SmallScan, reference: Run
) -> None:
    small_scan(locate_run(store))
    name = next(name for name in read_store() if name.startswith("clips/"))
    obstore.put(from_url(ADDRESS), name, b"not a table")
    result = resume(locate_run(store), Resources(workers=0), lambda event: None)
    assert result.run.hotspots.read_bytes() == reference.hotspots.read_bytes()
    assert read_store()[name] == (result.run.path / name).read_bytes() != b"not a table"


def test_a_second_driver_is_kept_out_until_the_first_is_gone(store: str) -> None:
    mirror = Mirror(replica_of(store))
    with mirror.hold(), pytest.raises(UsageError, match=r"in use by process \d+ on"):
        Mirror(replica_of(store)).hold().__enter__()
    with mirror.hold():  # the first has let go
        lease = json.loads(obstore.get(from_url(ADDRESS), ".driver/lease.json").bytes().to_bytes())
    dead = lease | {"host": "elsewhere", "time": time.time() - LEASE_S - 1}
    obstore.put(from_url(ADDRESS), ".driver/lease.json", json.dumps(dead).encode())
    with mirror.hold():
        assert [name for name in read_store() if name.startswith(".driver/")]
    assert not read_store()


def replica_of(address: str) -> Replica:
    found = locate_run(address)
    assert isinstance(found, Replica)
    return found


@pytest.fixture(scope="module")
def victim(small_scan: SmallScan, tmp_path_factory: pytest.TempPathFactory) -> Victim:
    return make_victim(small_scan, tmp_path_factory.mktemp("victim") / "run", 12.0, 64)


@pytest.mark.slow
def test_workers_without_a_shared_disk_are_killed_and_the_driver_resumes_elsewhere(
    store: str, victim: Victim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every worker has a folder of its own, as each machine of a cluster has."""
    monkeypatch.setenv("HOTSCAN_REPLICAS", str(tmp_path / "first"))
    cluster = Cluster(tmp_path)  # its two workers inherit the folder "first"
    cluster.add_worker(environment={"HOTSCAN_REPLICAS": str(tmp_path / "second")})
    try:
        with Client(cluster.address) as client:
            client.wait_for_workers(3, timeout=60)
        move(monkeypatch, tmp_path / "driver")
        here = replica_of(store)
        driver = victim.start_at(store, tmp_path, "--scheduler-address", cluster.address)
        wait_for_rows(here, 12, driver)
        cluster.workers[0].kill()
        wait_for_rows(here, 20, driver)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        move(monkeypatch, tmp_path / "driver2")
        again = victim.start_at(store, tmp_path, "--scheduler-address", cluster.address)
        assert again.wait() == 0
    finally:
        cluster.close()
    assert list((tmp_path / "second").rglob("*.parquet")), "the third worker had no unit"
    assert read_store()["hotspots.parquet"] == victim.answer


def test_a_store_that_is_not_there_is_named(
    store: str, monkeypatch: pytest.MonkeyPatch, small_scan: SmallScan
) -> None:
    with pytest.raises(IncompleteError, match=r"s3://nobucket/run.* cannot be reached .*bucket"):
        small_scan(locate_run("s3://nobucket/run"))


def test_since_needs_a_disk_that_workers_share(
    store: str, small_scan: SmallScan, reference: Run
) -> None:
    with pytest.raises(UsageError, match="is in an object store, whose workers cannot see"):
        small_scan(locate_run(store), since=[reference.path])


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "clips/../../out.txt"])
def test_no_name_in_the_store_leads_out_of_the_folder(name: str, store: str) -> None:
    folder = replica_of(store)
    with pytest.raises(IncompleteError, match="is not inside"):
        open_store(store).fetch(folder, [name])
    assert not list(folder.parent.glob("out.txt"))

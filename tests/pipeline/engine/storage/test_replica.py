"""A run in an object store: an S3 server on this machine, and folders that share nothing."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import obstore
import pytest
from distributed import Client
from obstore.store import from_url

from benchmarks.speed.object_store import serve_bucket
from pipeline.config import Resources
from pipeline.engine.storage.ledger import Ledger
from pipeline.engine.storage.replica import (
    LEASE_S,
    Mirror,
    Replica,
    fetch_needs,
    list_needs,
    locate_run,
    open_store,
)
from pipeline.engine.storage.run_directory import Run
from pipeline.engine.storage.run_record import read_record
from pipeline.passes.distinct_on_disk import tally_on_disk
from pipeline.passes.scan_settings import ScanSettings
from pipeline.passes.shard import Shard
from pipeline.scan.scan import resume
from stages.errors import IncompleteError, UsageError
from tests.pipeline.engine.test_dask_cluster import Cluster
from tests.pipeline.scan.test_kill import Victim, make_victim, wait_for_rows
from tests.support.small_scan import TINY, Hotscan, SmallScan

ADDRESS, LATER = "s3://bucket/runs/one", "s3://bucket/runs/two"
TILES = {"size_um": 100.0}
"""Those of the reference."""
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


def read_store(address: str = ADDRESS) -> dict[str, bytes]:
    store = from_url(address)
    names = [one["path"] for page in obstore.list(store) for one in page]
    return {name: obstore.get(store, name).bytes().to_bytes() for name in names}


def put_run(run: Run, address: str) -> Run:
    """Put a run that is in a folder into the store, as if it had been scanned there."""
    folder = replica_of(address)
    shutil.copytree(run.path, folder, dirs_exist_ok=True)
    Mirror(folder).push(run.ledger.read_bytes())
    return Run(folder)


def test_the_store_holds_the_bytes_of_a_folder(
    store: str, small_scan: SmallScan, reference: Run
) -> None:
    result = small_scan(locate_run(store), tiles=TILES)
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
    store: str, reference: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_run(reference, store)
    move(monkeypatch, tmp_path / "elsewhere")
    there = locate_run(store)
    assert there.is_relative_to(tmp_path / "elsewhere")
    result = resume(there, Resources(workers=0), lambda event: None)
    assert result.run.hotspots.read_bytes() == reference.hotspots.read_bytes()
    with Ledger(result.run.ledger, read_only=True) as ledger:
        assert max(ledger.times_run().values()) == 1


def test_a_damaged_object_is_computed_again(store: str, reference: Run) -> None:
    put_run(reference, store)
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


def test_an_earlier_run_is_reused_from_the_store_by_who_has_nothing(
    store: str, small_scan: SmallScan, reference: Run, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    put_run(reference, store)
    move(monkeypatch, tmp_path / "elsewhere")
    then = small_scan(locate_run(LATER), since=[locate_run(store)], tiles=TILES)
    assert then.metrics["tiles_taken_over"] == len(list((then.run.path / "clips").iterdir())) > 0
    assert then.metrics["patterns_taken_over"] == then.metrics["patterns"] > 0
    assert read_store(LATER)["hotspots.parquet"] == reference.hotspots.read_bytes()
    assert ScanSettings.of(read_record(then.run)).since == (locate_run(store),)

    move(monkeypatch, tmp_path / "third")  # where neither run is known
    result = resume(locate_run(LATER), Resources(workers=0), lambda event: None)
    assert result.metrics["tiles_taken_over"] == then.metrics["tiles_taken_over"]


def test_a_worker_fetches_what_it_reads_of_an_earlier_run(
    store: str, reference: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = put_run(reference, store)
    name, *others = sorted((run.path / "clips").iterdir())
    name.write_bytes(b"damaged")
    later = Mirror(replica_of(LATER))
    needs = later.share([], b"", list_needs(run.path, ("layout", "clips")))
    move(monkeypatch, tmp_path / "worker")
    fetch_needs(replica_of(LATER), needs)
    there = tmp_path / "worker" / run.path.name
    assert (there / "ledger.sqlite").exists()
    assert sorted(path.name for path in (there / "clips").iterdir()) == [p.name for p in others]
    assert (there / "layout" / "layout.json").exists()
    assert not (there / "patterns.zarr").exists()


@pytest.mark.slow
def test_shards_in_the_store_are_merged(
    store: str, small_scan: SmallScan, reference: Run, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, hotscan: Hotscan,
) -> None:  # fmt: skip
    parts = [f"s3://bucket/runs/part{part}" for part in (1, 2)]
    for part, address in enumerate(parts, 1):
        small_scan(locate_run(address), shard=Shard(part, 2), tiles=TILES)
    move(monkeypatch, tmp_path / "elsewhere")
    ended = hotscan("merge", *parts, "--out", LATER, "--quiet", "--workers", "0")
    assert ended.code == 0, ended.err
    assert read_store(LATER)["hotspots.parquet"] == reference.hotspots.read_bytes()


def test_workers_of_other_machines_must_see_earlier_runs(
    store: str, small_scan: SmallScan, reference: Run, hotscan: Hotscan
) -> None:
    ended = hotscan(
        *small_scan.arguments(store), "--since", reference.path,
        "--scheduler-address", "tcp://127.0.0.1:9",
    )  # fmt: skip
    assert ended.code == 2
    assert f"do not see {reference.path} beside {store}; have both in" in ended.err


def test_a_run_in_a_run_is_kept_by_its_own_driver(
    store: str, reference: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = f"{store}/layers/68_20"
    put_run(reference, inner)
    whole = replica_of(store)
    (whole / "run.json").write_text("{}")
    (whole / "layers/68_20/run.json").write_text("not known to the driver of all layers")
    mirror = Mirror(whole)
    mirror.push(b"ledger")
    with mirror.hold(), Mirror(whole / "layers/68_20").hold():  # neither keeps the other out
        pass
    there = read_store()
    assert there["run.json"] == b"{}"
    assert there["ledger.sqlite"] == b"ledger"
    assert there["layers/68_20/run.json"] == reference.record.read_bytes()
    move(monkeypatch, tmp_path / "elsewhere")
    found = locate_run(store)
    assert (found / "run.json").read_text() == "{}"
    assert (found / "layers/68_20/hotspots.parquet").read_bytes() == (
        reference.hotspots.read_bytes()
    )


@pytest.mark.slow
def test_layers_in_the_store_are_runs_of_their_own(
    store: str, small_scan: SmallScan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    hotscan: Hotscan,
) -> None:  # fmt: skip
    """The scan is stopped in the second layer, and another machine goes on."""
    scan = ["scan", TINY, "--layer", "67/20", "--layer", "68/20", "--model", small_scan.model]
    assert hotscan(*scan, "--out", tmp_path / "folder", "--quiet", "--workers", "0").code == 0

    begun: list[int] = []

    def stop_in_the_second(*parts: Any) -> Any:
        begun.append(1)
        if len(begun) > 1:
            raise KeyboardInterrupt
        return tally_on_disk(*parts)

    with monkeypatch.context() as stopped:
        stopped.setattr("pipeline.scan.stages.tally_on_disk", stop_in_the_second)
        assert hotscan(*scan, "--out", store, "--quiet", "--workers", "0").code == 130
    assert not [name for name in read_store() if ".driver" in name or ".lock" in name]
    move(monkeypatch, tmp_path / "elsewhere")
    assert hotscan("resume", store, "--quiet", "--workers", "0").code == 0

    there = read_store()
    for layer in ("67_20", "68_20"):
        name = f"layers/{layer}/hotspots.parquet"
        assert there[name] == (tmp_path / "folder" / name).read_bytes()
    with Ledger(locate_run(store) / "layers/67_20/ledger.sqlite", read_only=True) as ledger:
        assert max(ledger.times_run().values()) == 1
    move(monkeypatch, tmp_path / "third")
    assert hotscan("status", store).out.count("complete") >= 3


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out.txt", "clips/../../out.txt"])
def test_no_name_in_the_store_leads_out_of_the_folder(name: str, store: str) -> None:
    folder = replica_of(store)
    with pytest.raises(IncompleteError, match="is not inside"):
        open_store(store).fetch(folder, [name])
    assert not list(folder.parent.glob("out.txt"))

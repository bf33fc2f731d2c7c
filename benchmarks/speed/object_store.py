"""What a run in an object store costs: requests, bytes and time, beside the same in a folder.

python -m benchmarks.speed.object_store [--layout FILE] [--layer L/D] [--other L/D]
                                        [--roi X0,Y0,X1,Y1]

Scans once into a folder and once into a store, both in this process, so that the traffic counted
is all of it; then opens the run as another machine would, scans again there with what was found
reused, two shards, which are merged, and that layer with another one. The store is a server on this
machine that keeps objects in memory: the figures show the requests, not a network.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from moto.server import ThreadedMotoServer

from benchmarks.machine import machine
from pipeline.config import Resources, load_config
from pipeline.engine.storage.object_store import Traffic
from pipeline.engine.storage.replica import locate_run, open_store
from pipeline.passes.shard import Shard
from pipeline.scan.layers import LayersResult, scan_any
from pipeline.scan.request import ScanRequest, ScanResult
from pipeline.scan.scan import merge

ADDRESS, LATER, MERGED, BOTH = (
    f"s3://bucket/{name}" for name in ("run", "later", "merged", "both")
)
PARTS = ("s3://bucket/part1", "s3://bucket/part2")
SAMPLE = Path(__file__).parents[2] / "sample_layouts" / "block.gds.gz"


def main() -> None:
    """Scan twice, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layout", type=Path, default=SAMPLE)
    parser.add_argument("--layer", default="68/20")
    parser.add_argument("--other", default="69/20", help="layer that is scanned beside it")
    parser.add_argument("--roi", type=lambda text: [float(v) for v in text.split(",")])
    asked = parser.parse_args()
    print(machine())
    with serve_bucket() as environment, tempfile.TemporaryDirectory() as folder:
        os.environ |= environment
        os.environ["HOTSCAN_REPLICAS"] = f"{folder}/driver"
        layers = (asked.layer, asked.other)
        of_layers = [f"{BOTH}/layers/{layer.replace('/', '_')}" for layer in layers]

        def scan_into(out: Path, *others: str, **more: Any) -> ScanResult | LayersResult:
            layout = {"layers": [asked.layer, *others], "roi_um": asked.roi}
            config = load_config(None, {"layout": layout})
            request = ScanRequest(layout=asked.layout, out=out, config=config, **more)
            return scan_any(request, Resources(workers=0), lambda event: None)

        def scan_again() -> object:
            return scan_into(locate_run(LATER), since=(locate_run(ADDRESS),))

        def scan_shards() -> None:
            for number, part in enumerate(PARTS, 1):
                scan_into(locate_run(part), shard=Shard(number, len(PARTS)))

        def merge_shards() -> ScanResult:
            parts = [locate_run(part) for part in PARTS]
            return merge(parts, locate_run(MERGED), Resources(workers=0), lambda event: None)

        scan_into(Path(folder) / "first")  # whatever is compiled once
        rows = [("scan into a folder", *_time(lambda: scan_into(Path(folder) / "run")))]
        rows.append(("scan into the store", *_time(lambda: scan_into(locate_run(ADDRESS)))))
        os.environ["HOTSCAN_REPLICAS"] = f"{folder}/other"
        rows.append(("open that run elsewhere", *_time(lambda: locate_run(ADDRESS))))
        rows.append(("scan there again, with `--since`", *_time(scan_again)))
        rows.append(("two shards, both", *_time(scan_shards)))
        os.environ["HOTSCAN_REPLICAS"] = f"{folder}/third"
        rows.append(("merge them elsewhere", *_time(merge_shards)))
        both = _time(lambda: scan_into(locate_run(BOTH), asked.other), BOTH, *of_layers)
        rows.append((f"{' and '.join(layers)} in one run", *both))
        spots = (Path(folder) / "run/hotspots.parquet").read_bytes()
        same = all(
            (locate_run(each) / "hotspots.parquet").read_bytes() == spots
            for each in (ADDRESS, LATER, MERGED, of_layers[0])
        )
    print("\n| | s | requests | MB up | MB down |\n|---|--:|--:|--:|--:|")
    for name, seconds, took in rows:
        up, down = took.bytes_up / 1e6, took.bytes_down / 1e6
        print(f"| {name} | {seconds:.1f} | {took.requests:,} | {up:.1f} | {down:.1f} |")
    print(f"\nhotspots.parquet is {'the same' if same else 'NOT the same'}")


@contextmanager
def serve_bucket() -> Iterator[dict[str, str]]:
    """Serve an empty bucket on this machine; give the environment in which it is found."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it prints every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        # What an earlier server of this process kept is still there.
        for method, path in (("POST", "moto-api/reset"), ("PUT", "bucket")):
            urllib.request.urlopen(urllib.request.Request(f"{url}/{path}", method=method)).close()
        yield {
            "AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any",
        }  # fmt: skip
    finally:
        server.stop()


def _time(work: Callable[[], object], *more: str) -> tuple[float, Traffic]:
    """Return the time that work takes, and its traffic with all runs, and those at `more`."""
    open_store.cache_clear()
    started = time.monotonic()
    work()
    took = time.monotonic() - started
    each = [open_store(address).traffic for address in (ADDRESS, LATER, MERGED, *PARTS, *more)]
    return took, Traffic(
        sum(one.requests for one in each), sum(one.bytes_up for one in each),
        sum(one.bytes_down for one in each),
    )  # fmt: skip


if __name__ == "__main__":
    main()

"""The workers of a scan run code for whoever reaches them: nobody else does."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from pipeline.config import Resources
from pipeline.engine.executors import DaskExecutor
from pipeline.engine.storage.ledger import Status, UnitOutcome

INTRUDER = """
import os, sys
from distributed import Client, Security

if os.getuid() == 0:
    os.setuid(65534)  # nobody, once the imports are done
address, kind = sys.argv[1:]
security = Security.temporary() if kind == "other certificate" else None
try:
    Client(address.replace("tls", "tcp") if kind == "plain" else address, timeout=3,
           security=security)
except (OSError, TypeError, ValueError) as error:
    print("turned away:", type(error).__name__)
else:
    print("reached")
os._exit(0)
"""


def work(unit: int) -> UnitOutcome:
    return UnitOutcome("stage", str(unit), Status.DONE)


def listening_ports() -> set[tuple[str, int]]:
    """Addresses on which this process and its children accept connections."""
    me = psutil.Process()
    return {
        (connection.laddr.ip, connection.laddr.port)
        for process in (me, *me.children(recursive=True))
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, set[tuple[str, int]]]]:
    """A scheduler as a scan starts it, and what listens for it."""
    before = listening_ports()
    with DaskExecutor(Resources(workers=1)) as executor:
        assert len(list(executor.run(work, range(3), stage="stage"))) == 3
        assert executor._client is not None
        yield executor._client.scheduler.address, listening_ports() - before


@pytest.mark.parametrize("kind", ["no certificate", "other certificate", "plain"])
def test_another_user_is_turned_away(address: tuple[str, object], kind: str) -> None:
    assert address[0].startswith("tls://127.0.0.1:")
    ended = subprocess.run(
        [sys.executable, "-c", INTRUDER, address[0], kind],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.stdout.startswith("turned away"), ended.stdout + ended.stderr


def test_only_loopback_is_listened_on_and_plain_text_gets_no_answer(
    address: tuple[str, set[tuple[str, int]]],
) -> None:
    opened = address[1]
    assert len(opened) > 2
    assert {ip for ip, _ in opened} == {"127.0.0.1"}
    for place in opened:
        assert says_nothing(place), place


def says_nothing(place: tuple[str, int]) -> bool:
    """Whether a port answers a request of the web with nothing but a refusal."""
    with socket.create_connection(place, timeout=5) as plain:
        plain.sendall(b"GET /info/main/workers.html HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.settimeout(5)
        try:
            answer = plain.recv(4096)
        except (TimeoutError, ConnectionError):
            return True
    return b" 404 " in answer or not answer.isascii() or answer == b""

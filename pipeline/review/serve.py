"""Serving the page of a review on this machine until it is stopped.

in       a run directory, a port
out      the address, with its token; nothing else listens
"""

from __future__ import annotations

import asyncio
import gc
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.review.session import ReviewSession
from stages.errors import UsageError

if TYPE_CHECKING:
    import uvicorn

HOST = "127.0.0.1"
MISSING = "hotscan review needs starlette and uvicorn; install them: pip install 'hotscan[review]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRequest:
    """What to review, and where to serve it."""

    run: Path
    waivers: Path | None
    """File that waivers are added to, created when the first is; None for that of the scan, or
    ``waivers.toml``."""
    by: str
    """Who reviews, until the page says otherwise."""
    port: int = 0
    """0 for one that is free."""


@dataclass(frozen=True, slots=True)
class Served:
    """A page that is ready to be served."""

    address: str
    hotspots: int
    server: uvicorn.Server
    listener: socket.socket

    def serve(self) -> None:
        """Answer requests until the server should exit, or the process is interrupted."""
        with suppress(KeyboardInterrupt):
            asyncio.run(self.server.serve(sockets=[self.listener]))


def serve_review(request: ReviewRequest, announce: Callable[[str, int], None]) -> None:
    """Serve the page until the process is interrupted; errors as of `open_review`.

    Parameters
    ----------
    announce
        Called with the address and the number of hotspots, when the page can be opened.
    """
    with open_review(request) as served:
        announce(served.address, served.hotspots)
        served.serve()


@contextmanager
def open_review(request: ReviewRequest) -> Iterator[Served]:
    """Make the page of a run ready to be served.

    Raises
    ------
    UsageError
        When the extra is not installed, the port is in use, or the run cannot be reviewed.
    """
    try:
        import uvicorn

        from pipeline.review.app import make_app
    except ModuleNotFoundError as error:
        raise UsageError(f"{MISSING} ({error})") from error
    with _listen(request.port) as listener:
        session = _open_session(request)
        try:
            port, token = listener.getsockname()[1], secrets.token_urlsafe(24)
            hosts = [f"{name}:{port}" for name in (HOST, "localhost")]
            app = make_app(session, token, hosts, request.by)
            config = uvicorn.Config(
                app, log_level="error", access_log=False, lifespan="off", server_header=False,
                timeout_graceful_shutdown=2,
            )  # fmt: skip
            address = f"http://{HOST}:{port}/{token}/"
            yield Served(address, len(session.table), uvicorn.Server(config), listener)
        finally:
            session.close()
            gc.unfreeze()


def _open_session(request: ReviewRequest) -> ReviewSession:
    # A million hotspots are objects that stay: to look for garbage among them takes as long as to
    # read them, and would stop the page for a second now and then.
    gc.disable()
    try:
        return ReviewSession(request.run, request.waivers)
    finally:
        gc.freeze()
        gc.enable()


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(64)
    except (OSError, OverflowError) as error:
        listener.close()
        raise UsageError(
            f"port {port} cannot be used ({error}); choose another --port, or leave it out"
        ) from error
    return listener

"""Who may talk to the page: the one who was given its address, from a page of its own.

in       requests to a port of this machine, from any program or web page on it
out      those to this host, below the token; all others are refused before anything is read
promise  without the token nothing is told, not even which paths exist

Any page that is open in a browser may send requests to this machine. The host of a request is
compared, so that a name of somebody else that resolves to this machine (DNS rebinding) is refused.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BYTES = 1 << 16
"""Largest body of a request."""

HEADERS = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Of every answer: nothing from elsewhere, no frame, no trace of the address."""


class Guard:
    """Lets a request through to an application, or refuses it."""

    def __init__(self, app: ASGIApp, token: str, hosts: Iterable[str]) -> None:
        self._app, self._token, self._hosts = app, token.encode(), frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        if scope["type"] != "http" or (fault := self._find_fault(scope)):
            refusal = PlainTextResponse(f"refused: {fault}\n", 403, headers=HEADERS)
            return await refusal(scope, receive, send)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(
                    (name.lower().encode(), value.encode())
                    for name, value in HEADERS.items() if name.lower().encode() not in given
                )]  # fmt: skip
            await send(message)

        return await self._app(scope, receive, send_guarded)

    def _find_fault(self, scope: Scope) -> str:
        """Return why a request is refused; empty where it is not."""
        headers = Headers(scope=scope)
        if headers.get("host") not in self._hosts or len(headers.getlist("host")) != 1:
            return "this is another host's name"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
            return "it comes from another site"
        first = scope["path"].split("/")[1].encode(errors="replace")
        if not secrets.compare_digest(first, self._token):
            return "open the address that hotscan review printed"
        return _find_writing_fault(scope, headers) if scope["method"] != "GET" else ""


def _find_writing_fault(scope: Any, headers: Headers) -> str:
    """Return why a request that would change something is refused."""
    if scope["method"] != "POST":
        return "only GET and POST are known"
    if headers.get("origin") != f"http://{headers['host']}":
        return "it comes from another page"
    if headers.get("content-type") != "application/json":
        return "it is not JSON"
    length = headers.get("content-length", "")
    if not length.isdecimal() or int(length) > MOST_BYTES:
        return f"it has no length, or one over {MOST_BYTES} bytes"
    return ""

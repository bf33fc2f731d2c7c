"""Requests from whoever has the address, and from whoever has not."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import pytest


def ask(
    address: str, path: str, headers: dict[str, str] | None = None, body: Any = None, *,
    method: str = "",
) -> tuple[int, str, dict[str, str]]:  # fmt: skip
    """Send a request, and return status, text and headers."""
    place = urlsplit(address)
    connection = HTTPConnection(place.netloc, timeout=20)
    method = method or ("GET" if body is None else "POST")
    content = body if body is None or isinstance(body, str) else json.dumps(body)
    connection.request(method, path, content, {"Host": place.netloc} | (headers or {}))
    answer = connection.getresponse()
    found = answer.status, answer.read().decode(errors="replace"), dict(answer.getheaders())
    connection.close()
    return found


def base(address: str) -> str:
    return urlsplit(address).path


def port(address: str) -> int:
    return urlsplit(address).port or 0


def test_the_page_brings_only_its_own(address: str) -> None:
    status, text, headers = ask(address, base(address))
    assert status == 200
    assert "hotscan review" in text
    assert "://" not in text  # nothing is loaded from elsewhere
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["referrer-policy"] == "no-referrer"
    assert len(base(address)) > 32
    assert ask(address, base(address), {"Host": f"localhost:{port(address)}"})[0] == 200


@pytest.mark.parametrize("path", ["/", "/x/", "/api/run", "/x/api/run", "//", "/tiles/0/0/0/0.png"])
def test_nothing_is_told_without_the_token(address: str, path: str) -> None:
    status, text, _ = ask(address, path)
    assert (status, text) == (403, "refused: open the address that hotscan review printed\n")


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{}", "127.0.0.1", "127.0.0.1:1", ""]
)
def test_other_names_of_the_machine_are_refused(address: str, host: str) -> None:
    status, text, _ = ask(address, base(address), {"Host": host.format(port(address))})
    assert (status, text) == (403, "refused: this is another host's name\n")


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_requests_of_other_sites_are_refused(address: str, site: str) -> None:
    assert ask(address, f"{base(address)}api/run", {"Sec-Fetch-Site": site})[0] == 403


DECISION = {"what": "comment", "by": "N. N.", "hotspot": 1, "text": "seen"}


@pytest.mark.parametrize(
    ("change", "body", "fault"),
    [
        ({"Origin": "http://evil.example"}, DECISION, "another page"),
        ({"Origin": "null"}, DECISION, "another page"),
        ({"Content-Type": "text/plain"}, DECISION, "not JSON"),
        ({}, "x" * (1 << 17), "bytes"),
    ],
)
def test_decisions_of_other_pages_are_refused(
    address: str, change: dict[str, str], body: Any, fault: str
) -> None:
    own = {"Origin": address[: -len(base(address))], "Content-Type": "application/json"}
    status, text, _ = ask(address, f"{base(address)}api/decide", own | change, body)
    assert status == 403
    assert fault in text
    assert ask(address, "/api/decide", own, DECISION)[0] == 403  # no token
    assert ask(address, f"{base(address)}api/decide", own, DECISION, method="PUT")[0] == 403
    assert ask(address, f"{base(address)}api/decide", own, DECISION)[0] == 200


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("no json", "no JSON object"), ([], "no JSON object"),
        ({"what": "fix"}, "the decision has no 'by'"),
        (DECISION | {"hotspot": True}, "'hotspot' is no part"),
        (DECISION | {"hotspot": 10**9}, "there is no hotspot 1000000000; ids go from 1"),
        (DECISION | {"what": "shrug"}, "decision 'shrug' is unknown"),
        (DECISION | {"by": " "}, "nobody decides"), (DECISION | {"text": ""}, "comment is empty"),
        (DECISION | {"colour": "red"}, "'colour' is no part"),
    ],
)  # fmt: skip
def test_what_is_no_decision_is_refused(address: str, body: Any, message: str) -> None:
    own = {"Origin": address[: -len(base(address))], "Content-Type": "application/json"}
    status, text, _ = ask(address, f"{base(address)}api/decide", own, body)
    assert status == 400
    assert message in json.loads(text)["error"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("tiles/1/0/0/0.png", "layer 1 is not in the picture"),
        ("tiles/0/25/0/0.png", "outside of every layout"),
        ("tiles/0/0/99999999/0.png", "outside of every layout"),
        ("tiles/0/x/0/0.png", "'x' is no number"), ("api/marks/0/-99999999/0", "outside of every"),
        ("api/spots?levels=9", "level 9 is unknown"), ("api/spots?states=x", "state x is unknown"),
        ("api/spots?offset=1e3&limit=1", "'1e3' is no number"),
        ("api/spots/0", "there is no hotspot 0"), ("api/contours/999", "there is no hotspot 999"),
        ("api/step?from=999&by=1", "there is no hotspot 999"),
    ],
)  # fmt: skip
def test_what_cannot_be_answered_is_told(address: str, path: str, message: str) -> None:
    status, text, _ = ask(address, base(address) + path)
    assert status == 400
    assert message in json.loads(text)["error"]


@pytest.mark.parametrize("path", ["../../session.py", "..%2f..%2fsession.py", "no-such-file.js"])
def test_only_the_files_of_the_page_are_served(address: str, path: str) -> None:
    assert ask(address, base(address) + path)[0] in (403, 404)

"""The web application: paths to answers.

in       a `ReviewSession`, a token
out      an ASGI application
promise  requests are answered one at a time: nothing is compiled, drawn or decided twice at once
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from pipeline.review import answers
from pipeline.review.contours import simulate_contours
from pipeline.review.guard import Guard
from pipeline.review.session import ReviewSession
from pipeline.review.tiles import TileDrawer
from stages.errors import HotscanError, UsageError
from stages.review.spots import Filter

STATIC = Path(__file__).parent / "static"
_KEEP = {"Cache-Control": "private, max-age=86400, immutable"}
"""Of tiles: their address has the token of this process, and the layout does not change."""


@dataclass(frozen=True, slots=True)
class _Answers:
    """What each path is answered with."""

    session: ReviewSession
    tiles: TileDrawer
    by: str

    def describe_run(self, request: Request) -> Any:
        return answers.describe_run(self.session, self.by)

    def draw_tile(self, request: Request) -> Response:
        layer, *tile = _read_numbers(request, "layer", "scale", "column", "row")
        if not 0 <= layer < len(self.session.view.config.layout.channels):
            raise UsageError(f"layer {layer} is not in the picture")
        content = self.tiles.draw(layer, *tile)
        return Response(content, media_type="image/png", headers=_KEEP)

    def list_marks(self, request: Request) -> Any:
        scale, column, row = _read_numbers(request, "scale", "column", "row")
        return answers.list_marks(self.session, _filter(request), (scale, column, row))

    def describe_spot(self, request: Request) -> Any:
        (hotspot,) = _read_numbers(request, "id")
        return answers.describe_spot(self.session, _filter(request), hotspot)

    def draw_contours(self, request: Request) -> Any:
        (hotspot,) = _read_numbers(request, "id")
        self.session.find_spot(hotspot)
        x, y = self.session.table.place_dbu[hotspot - 1].tolist()
        return simulate_contours(self.session.view, (x, y))

    def list_spots(self, request: Request) -> Any:
        return answers.list_spots(self.session, _filter(request), *_read_page(request))

    def list_classes(self, request: Request) -> Any:
        return answers.list_classes(self.session, _filter(request), *_read_page(request))

    def step(self, request: Request) -> Any:
        return answers.step_through(self.session, _filter(request), *_read_step(request))

    def step_to_class(self, request: Request) -> Any:
        return answers.step_to_class(self.session, _filter(request), *_read_step(request))

    def decide(self, request: Request) -> Any:
        return answers.decide(self.session, answers.parse_object(request.state.body))


def make_app(session: ReviewSession, token: str, hosts: Iterable[str], by: str) -> ASGIApp:
    """Return the application.

    Parameters
    ----------
    token
        First part of every path.
    hosts
        What the header ``Host`` may be.
    by
        Who reviews, until the page says otherwise.
    """
    tiles, lock = TileDrawer(session.view.layout), asyncio.Lock()
    tiles.warm()
    known = _Answers(session, tiles, by)

    def serve(path: str, answer: Callable[[Request], Any], method: str = "GET") -> Route:
        async def answer_alone(request: Request) -> Response:
            request.state.body = await request.body()  # all of it, before others have to wait
            async with lock:
                if await request.is_disconnected():  # the map has moved on since
                    return Response(status_code=499)
                return await run_in_threadpool(_answer, answer, request)

        return Route(path, answer_alone, methods=[method])

    routes = [
        serve("/api/run", known.describe_run),
        serve("/api/marks/{scale}/{column}/{row}", known.list_marks),
        serve("/api/spots", known.list_spots),
        serve("/api/classes", known.list_classes),
        serve("/api/spots/{id}", known.describe_spot),
        serve("/api/contours/{id}", known.draw_contours),
        serve("/api/step", known.step),
        serve("/api/step-class", known.step_to_class),
        serve("/tiles/{layer}/{scale}/{column}/{row}.png", known.draw_tile),
        serve("/api/decide", known.decide, "POST"),
        Mount("/", StaticFiles(directory=STATIC, html=True)),
    ]
    inner = Starlette(routes=[Mount(f"/{token}", routes=routes)])
    return Guard(inner, token, hosts)


def _answer(answer: Callable[[Request], Any], request: Request) -> Response:
    try:
        found = answer(request)
    except HotscanError as error:
        return JSONResponse({"error": str(error)}, 400)
    except OSError as error:
        return JSONResponse({"error": f"{error}; free or repair the disk"}, 500)
    return found if isinstance(found, Response) else JSONResponse(found)


def _filter(request: Request) -> Filter:
    return answers.parse_filter(request.query_params)


def _read_numbers(request: Request, *names: str) -> list[int]:
    return [answers.parse_number(request.path_params[name]) for name in names]


def _read_page(request: Request) -> list[int]:
    return _read_query(request, "offset", "limit")


def _read_step(request: Request) -> list[int]:
    return _read_query(request, "from", "by")


def _read_query(request: Request, *names: str) -> list[int]:
    return [answers.parse_number(request.query_params.get(name, "0")) for name in names]

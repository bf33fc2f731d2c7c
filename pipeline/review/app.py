"""The web application: paths to answers.

in       a `ReviewSession`, a token
out      an ASGI application
promise  requests are answered one at a time: nothing is compiled, drawn or decided twice at once
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
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

    def serve(path: str, answer: Callable[[Request], Any], method: str = "GET") -> Route:
        async def answer_alone(request: Request) -> Response:
            request.state.body = await request.body()  # all of it, before others have to wait
            async with lock:
                if await request.is_disconnected():  # the map has moved on since
                    return Response(status_code=499)
                return await run_in_threadpool(_answer, answer, request)

        return Route(path, answer_alone, methods=[method])

    def draw_tile(request: Request) -> Response:
        layer, *tile = _read_numbers(request, "layer", "scale", "column", "row")
        if not 0 <= layer < len(session.view.config.layout.channels):
            raise UsageError(f"layer {layer} is not in the picture")
        content = tiles.draw(layer, *tile)
        return Response(content, media_type="image/png", headers=_KEEP)

    def list_marks(request: Request) -> Any:
        scale, column, row = _read_numbers(request, "scale", "column", "row")
        return answers.list_marks(session, _filter(request), (scale, column, row))

    def describe_spot(request: Request) -> Any:
        (hotspot,) = _read_numbers(request, "id")
        return answers.describe_spot(session, _filter(request), hotspot)

    def draw_contours(request: Request) -> Any:
        (hotspot,) = _read_numbers(request, "id")
        session.find_spot(hotspot)
        x, y = session.table.place_dbu[hotspot - 1].tolist()
        return simulate_contours(session.view, (x, y))

    def step(stepping: Callable[..., Any]) -> Callable[[Request], Any]:
        def go(request: Request) -> Any:
            start, by_how_many = (_read_query(request, name) for name in ("from", "by"))
            return stepping(session, _filter(request), start, by_how_many)

        return go

    def page(listing: Callable[..., Any]) -> Callable[[Request], Any]:
        def list_page(request: Request) -> Any:
            offset, limit = (_read_query(request, name) for name in ("offset", "limit"))
            return listing(session, _filter(request), offset, limit)

        return list_page

    def decide(request: Request) -> Any:
        return answers.decide(session, answers.parse_object(request.state.body))

    routes = [
        serve("/api/run", lambda request: answers.describe_run(session, by)),
        serve("/api/marks/{scale}/{column}/{row}", list_marks),
        serve("/api/spots", page(answers.list_spots)),
        serve("/api/classes", page(answers.list_classes)),
        serve("/api/spots/{id}", describe_spot),
        serve("/api/contours/{id}", draw_contours),
        serve("/api/step", step(answers.step_through)),
        serve("/api/step-class", step(answers.step_to_class)),
        serve("/tiles/{layer}/{scale}/{column}/{row}.png", draw_tile),
        serve("/api/decide", decide, "POST"),
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


def _read_query(request: Request, name: str) -> int:
    return answers.parse_number(request.query_params.get(name, "0"))

"""The page on loopback, with the graphs of a folder, their annotations, evidence on features, and steering.

    GET  /                                  the page
    GET  /api/graphs                        what there is
    GET  /api/graphs/{slug}                 a graph with its annotations
    GET  /api/graphs/{slug}/annotations     its annotations; their revision is the ETag
    PUT  /api/graphs/{slug}/annotations     save them, if the revision in If-Match is still the file's; else 409 and
                                            the ones that are there, to be merged
    GET  /api/features/{layer}/{index}      evidence on a feature, or null
    POST /api/steer                         change features on a graph's prompt (`viz.viewer.steering`)
    GET  /features/{file}                   the folder of evidence in circuit-tracer's layout, in parts if asked

Everything else is refused. `viz.viewer.guard` says who may ask.
"""

import json
import math
import secrets
import socket
from http import HTTPStatus
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from replacement_model.errors import InputError, OrreryError
from viz.exchange.encoding import encoded
from viz.viewer.annotations import annotations_of, annotations_path, exchange, parse_annotations
from viz.viewer.evidence import FeatureTexts
from viz.viewer.guard import Guard, is_loopback, refusal
from viz.viewer.library import Library, OpenGraph
from viz.viewer.page import filled, page_policy
from viz.viewer.steering import Steering, parse_request

__all__ = ["ViewerServer", "make_app"]

HOST = "127.0.0.1"


def make_app(
    library: Library, features: FeatureTexts | None = None, steering: Steering | None = None, token: str | None = None
) -> ASGIApp:
    """The viewer as an ASGI application.

    Args:
        library: the graphs.
        features: evidence on their features.
        steering: the model behind them; None refuses steering.
        token: what requests that change something must carry; a random one when None.
    """
    token = secrets.token_urlsafe(32) if token is None else token
    viewer = _Viewer(library, features, steering, token)
    routes = [
        Route("/", viewer.page),
        Route("/api/graphs", viewer.graphs),
        Route("/api/graphs/{slug}", viewer.graph),
        Route("/api/graphs/{slug}/annotations", viewer.annotations, methods=["GET"]),
        Route("/api/graphs/{slug}/annotations", viewer.save, methods=["PUT"]),
        Route("/api/features/{layer}/{index}", viewer.feature),
        Route("/api/steer", viewer.steer, methods=["POST"]),
        Route("/features/{name}", viewer.evidence_file),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _http_error, OrreryError: _our_error})
    app.router.redirect_slashes = False
    return Guard(app, token)


class ViewerServer:
    """The viewer on a port of the loopback address.

    Args:
        app: what `make_app` gave.
        port: 0 for any that is free.
        host: of this machine alone.

    Raises:
        InputError: the host is not loopback, or the port is taken.
    """

    def __init__(self, app: ASGIApp, port: int = 0, host: str = HOST) -> None:
        if not is_loopback(host):
            raise InputError(
                f"the viewer listens on this machine alone, not on {host!r}; to see it from another one, forward the "
                "port with ssh -L"
            )
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            self.socket.bind((host, port))
        except (OSError, OverflowError) as error:
            self.socket.close()
            raise InputError(f"cannot listen on port {port} ({error}); choose another --port, or 0 for any") from error
        self.socket.listen()
        self.port = int(self.socket.getsockname()[1])
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
        self.server = uvicorn.Server(config)

    def run(self) -> None:
        """Serve until `stop`, or until the process is interrupted."""
        try:
            self.server.run(sockets=[self.socket])
        finally:
            self.socket.close()

    def stop(self) -> None:
        """End `run` from another thread."""
        self.server.should_exit = True


class _Viewer:
    """The answers."""

    def __init__(self, library: Library, features: FeatureTexts | None, steering: Steering | None, token: str) -> None:
        self.library, self.features, self.steering, self.token = library, features, steering, token

    async def page(self, request: Request) -> Response:
        text = filled({"served": True, "token": self.token}, connects=True)
        return HTMLResponse(text, headers={"Content-Security-Policy": f"{page_policy()}; frame-ancestors 'none'"})

    async def graphs(self, request: Request) -> Response:
        return _json({"graphs": await run_in_threadpool(self.library.summaries)})

    async def graph(self, request: Request) -> Response:
        return await run_in_threadpool(self._graph, await self._found(request))

    def _graph(self, graph: OpenGraph) -> Response:
        nodes = graph.value["nodes"] if self.features is None else self.features.labelled(graph.value["nodes"])
        can_steer = self.steering is not None and self.steering.can_steer(graph)
        added = {
            "nodes": nodes,
            "annotations": _annotations(graph),
            "served": {"steer": can_steer, "features": self.features is not None},
        }
        return _json({**graph.value, **added})

    async def annotations(self, request: Request) -> Response:
        graph = await self._found(request)
        found = await run_in_threadpool(_annotations, graph)
        return _json(found, headers={"ETag": f'"{found["revision"]}"'})

    async def save(self, request: Request) -> Response:
        graph = await self._found(request)
        revision = _revision(request.headers.get("if-match"))
        given = parse_annotations({**await _sent(request), "revision": revision})
        is_saved, current = await run_in_threadpool(exchange, given, annotations_path(graph.path))
        value, headers = current.to_dict(), {"ETag": f'"{current.revision}"'}
        if is_saved:
            return _json(value, headers=headers)
        error = f"somebody saved since revision {revision}; merge with `current` and save again"
        return _json({"error": error, "current": value}, HTTPStatus.CONFLICT, headers)

    async def feature(self, request: Request) -> Response:
        layer, index = (_index(request.path_params[name]) for name in ("layer", "index"))
        if self.features is None or layer is None or index is None:
            return _nothing()
        return _json(await run_in_threadpool(self.features.facts, layer, index))

    async def evidence_file(self, request: Request) -> Response:
        name = request.path_params["name"]
        path = None if self.features is None else self.features.file(name)
        return _nothing() if path is None else FileResponse(path, media_type="application/octet-stream")

    async def steer(self, request: Request) -> Response:
        asked = parse_request(await _sent(request))
        graph = await run_in_threadpool(self.library.open, asked.slug)
        if graph is None:
            return _nothing()
        if self.steering is None:
            raise InputError("no model is loaded; start `orrery view` with --model and --transcoder")
        return _json(await run_in_threadpool(self.steering.run, graph, asked))

    async def _found(self, request: Request) -> OpenGraph:
        graph = await run_in_threadpool(self.library.open, request.path_params["slug"])
        if graph is None:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        return graph


def _annotations(graph: OpenGraph) -> dict[str, Any]:
    return annotations_of(graph.path).to_dict()


async def _sent(request: Request) -> dict[str, Any]:
    """The JSON object of a request's body.

    Raises:
        InputError: the body is no JSON object.
    """
    try:
        value = json.loads(await request.body(), parse_constant=_refuse_constant, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise InputError(f"expected JSON in the body ({' '.join(str(error).split())[:100]})") from error
    if not isinstance(value, dict):
        raise InputError(f"expected a JSON object in the body, got {type(value).__name__}")
    return value


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no finite number")
    return number


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _revision(header: str | None) -> int:
    text = "" if header is None else header.strip().removeprefix("W/").strip('"')
    found = _index(text)
    if found is None:
        raise InputError(f'expected the revision that was read in If-Match, such as "3", got {(header or "")[:40]!r}')
    return found


def _index(text: str) -> int | None:
    """A whole number of reasonable length, None for anything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _json(value: Any, status: int = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    return Response(encoded(value), status, headers, media_type="application/json")


def _nothing() -> Response:
    return refusal(HTTPStatus.NOT_FOUND, "there is nothing here")


async def _our_error(request: Request, error: Exception) -> Response:
    status = HTTPStatus.BAD_REQUEST if isinstance(error, InputError) else HTTPStatus.UNPROCESSABLE_ENTITY
    return refusal(status, str(error))


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    wording = {404: "there is nothing here", 405: f"expected another method than {request.method[:20]}"}
    return refusal(error.status_code, wording.get(error.status_code, error.detail), dict(error.headers or {}))

"""What stands before every request to the viewer: who may ask, for what, and with how much.

The server listens on loopback, but any web page that a browser shows may try to reach it. So:

- The `Host` must be loopback, or a foreign name that resolves to 127.0.0.1 could read everything (DNS rebinding).
- Requests that say where they come from (`Origin`, `Sec-Fetch-Site`) must come from the page itself. Only the page's
  own address may be opened from elsewhere, as a link.
- Requests that change something carry a token, made for this run, that only the page knows.
- Bodies are JSON, short, and only where one is expected.

Refusals are JSON with `error`, and every answer carries the headers that keep the page to itself.
"""

import ipaddress
import secrets
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from viz.exchange.encoding import encoded

__all__ = ["TOKEN_HEADER", "Guard", "is_loopback", "refusal"]

TOKEN_HEADER = "x-orrery-token"
MAX_BODY = 4_000_000
MAX_TARGET = 4_000
WITH_BODY = ("PUT", "POST")
SAME_SITE = ("same-origin", "none")
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def refusal(status: int, error: str, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer that says what was wrong, whatever it quotes."""
    return Response(encoded({"error": error}), status, headers, media_type="application/json")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """An ASGI application before another one.

    Args:
        app: what answers.
        token: what requests that change something must carry.
        max_body: bytes.
    """

    def __init__(self, app: ASGIApp, token: str, max_body: int = MAX_BODY) -> None:
        self.app = app
        self.token = token
        self.max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        sender = _with_headers(send)
        refused = self._refused(scope)
        if refused is None and scope["method"] in WITH_BODY:
            body = await self._body(receive)
            refused = _too_large(self.max_body) if body is None else None
            receive = _again(body or b"", receive)
        await (self.app if refused is None else refused)(scope, receive, sender)

    def _refused(self, scope: Scope) -> Response | None:
        headers, method = Headers(scope=scope), scope["method"]
        origins = _wrong_origin(scope, headers)
        if origins is not None:
            return refusal(HTTPStatus.FORBIDDEN, origins)
        if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_TARGET:
            return refusal(HTTPStatus.REQUEST_URI_TOO_LONG, f"expected an address of at most {MAX_TARGET} bytes")
        length = headers.get("content-length", "0")
        has_body = length != "0" or "transfer-encoding" in headers
        if method not in WITH_BODY:
            error = f"expected no body with {method}, got one; leave it out"
            return refusal(HTTPStatus.BAD_REQUEST, error) if has_body else None
        if not secrets.compare_digest(headers.get(TOKEN_HEADER, "").encode(), self.token.encode()):
            error = f"expected the token of this run in {TOKEN_HEADER}; load the page again"
            return refusal(HTTPStatus.FORBIDDEN, error)
        kind = headers.get("content-type", "")
        if kind.split(";")[0].strip().lower() != "application/json":
            error = f"expected a body of type application/json, got {kind[:60]!r}"
            return refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, error)
        is_known = length.isascii() and length.isdigit() and len(length) < 16
        return _too_large(self.max_body) if is_known and int(length) > self.max_body else None

    async def _body(self, receive: Receive) -> bytes | None:
        """All of it; None if it is too large."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b"".join(parts)  # whoever asked has gone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self.max_body:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)


def _too_large(max_body: int) -> Response:
    error = f"expected a body of at most {max_body:,} bytes"
    return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, error, {"Connection": "close"})


def _wrong_origin(scope: Scope, headers: Headers) -> str | None:
    host = headers.get("host", "")
    if not is_loopback(_without_port(host)):
        return f"expected a loopback host, got {host[:60]!r}; open the address that `orrery view` printed"
    client = scope.get("client")
    if client is not None and not is_loopback(client[0]):
        return "expected a client on this machine"
    origin, site = headers.get("origin"), headers.get("sec-fetch-site")
    if origin is not None and origin != f"http://{host}":
        return f"expected a request from the page itself, got one from {origin[:60]!r}"
    if site is not None and site not in SAME_SITE and not _is_link(scope, headers):
        return f"expected a request from the page itself, got a {site[:20]} one"
    return None


def _is_link(scope: Scope, headers: Headers) -> bool:
    return scope["path"] == "/" and scope["method"] == "GET" and headers.get("sec-fetch-mode") == "navigate"


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isascii() and port.isdigit() else host


def _with_headers(send: Send) -> Send:
    async def sender(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sender


def _again(body: bytes, receive: Receive) -> Receive:
    """What receives the body once more, and then what comes after it."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiver() -> Message:
        return messages.pop() if messages else await receive()

    return receiver

"""What stands before every request: who may ask, how many at a time, and for how long."""

import asyncio
import hmac
import time
from collections.abc import MutableMapping
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from fer_keras.runtime.server.bodies import too_large
from fer_keras.runtime.server.figures import Figures
from fer_keras.runtime.server.refusal import Refused
from fer_keras.runtime.server.settings import LOOPBACK, Settings

WEBSOCKET_PROTOCOL = "fer_keras"
_TOKEN_PROTOCOL = "token."
_API = "/v1/"
# They tell nothing about anybody, and a browser has to read them before it can send a token.
_OPEN_PATHS = ("/healthz", "/docs", "/openapi.json")
STATIC_PATH = "/static"
_CONTENT_POLICY = (
    "default-src 'none'; connect-src 'self'; img-src 'self' data:; style-src 'self' "
    "'unsafe-inline'; script-src 'self' 'unsafe-inline'; frame-ancestors 'none'"
)
_HEADERS = {
    b"cache-control": b"no-store",
    b"content-security-policy": _CONTENT_POLICY.encode(),
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
}
# A client that is still sending reads no answer. So long is listened to what is thrown away.
_DRAIN_S = 5.0


class Guard:
    """ASGI middleware.

    Args:
        app: What is guarded.
        settings: Token, origins and limits.
        figures: Told of every request.
        routes: The paths that are counted by name.
    """

    def __init__(
        self, app: ASGIApp, settings: Settings, figures: Figures, routes: frozenset[str]
    ) -> None:
        self._app = app
        self._settings = settings
        self._figures = figures
        self._routes = routes
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        start_s = time.monotonic()
        answer = _Answer(send)
        takes_slot = scope["path"].startswith(_API)
        try:
            self._check(scope)
            if takes_slot:
                self._take_slot()
        except Refused as refused:
            await _refuse(refused, scope, receive, answer)
        else:
            try:
                await self._within_time(scope, receive, answer)
            finally:
                if takes_slot:
                    self._under_way -= 1
                    self._figures.under_way.dec()
        route = scope["path"] if scope["path"] in self._routes else "other"
        self._figures.requests.labels(route, str(answer.status)).inc()
        if scope["type"] == "http":
            self._figures.seconds.labels(route).observe(time.monotonic() - start_s)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        # Otherwise a foreign page whose name is made to point here could read the answers.
        if self._settings.token is None and _host_name(host) not in LOOPBACK:
            raise Refused(421, f"expected a request to {LOOPBACK[0]} or localhost")
        origin = headers.get("origin")
        if origin and urlsplit(origin).netloc != host and origin not in self._settings.origins:
            raise Refused(403, "a web page of another host may not ask. Allow it with --origin")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._settings.limits.body_bytes:
            raise too_large(self._settings.limits)
        is_open = scope["path"] in _OPEN_PATHS or scope["path"].startswith(f"{STATIC_PATH}/")
        if self._settings.token is not None and not is_open:
            given = _given_token(scope, headers)
            if not hmac.compare_digest(given.encode(), self._settings.token.encode()):
                raise Refused(
                    401,
                    "expected the header Authorization: Bearer TOKEN with the server's token",
                    {"WWW-Authenticate": "Bearer"},
                )

    def _take_slot(self) -> None:
        if self._under_way >= self._settings.limits.requests:
            raise Refused(
                503,
                f"too many requests at a time: expected at most {self._settings.limits.requests}. "
                "Ask again soon",
                {"Retry-After": "1"},
            )
        self._under_way += 1
        self._figures.under_way.inc()

    async def _within_time(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        # A stream may last; it watches its own pauses.
        if scope["type"] == "websocket":
            await self._app(scope, receive, answer)
            return
        body = _Body(receive)
        limit_s = self._settings.limits.seconds
        try:
            async with asyncio.timeout(limit_s):
                await self._app(scope, body, answer)
        except TimeoutError:
            if answer.status:
                raise
            late = "the answer took" if body.complete else "the body took"
            status = 503 if body.complete else 408
            refused = Refused(status, f"{late} longer than {limit_s:g} s", {"Connection": "close"})
            await refused.response()(scope, receive, answer)


class _Answer:
    """Sends on, with the headers of every answer, and notes the status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.http.response.start"):
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), *_HEADERS.items()]
        elif message["type"] == "websocket.accept":
            self.status = 101
        await self._send(message)


class _Body:
    """Receives, and notes whether the body is complete."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.complete = False

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self.complete = True
        return message


async def _refuse(refused: Refused, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await deny(WebSocket(scope, receive, send), refused)
        return
    try:
        async with asyncio.timeout(_DRAIN_S):
            await _drain(receive)
    except TimeoutError:
        refused.headers["Connection"] = "close"
    await refused.response()(scope, receive, send)


async def _drain(receive: Receive) -> None:
    more = True
    while more:
        message: MutableMapping[str, Any] = await receive()
        more = message["type"] == "http.request" and message.get("more_body", False)


async def deny(websocket: WebSocket, refused: Refused) -> None:
    """Refuse a stream before it is opened, in one line of JSON where the server can."""
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(refused.response())
    else:
        await websocket.close(1008)


def _host_name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _given_token(scope: Scope, headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    # A browser's WebSocket cannot send headers of its own.
    for name in scope.get("subprotocols", ()):
        if name.startswith(_TOKEN_PROTOCOL):
            return str(name.removeprefix(_TOKEN_PROTOCOL))
    return ""

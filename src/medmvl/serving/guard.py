"""Checks before every route: the size of a body, the host name in the request, and the client."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medmvl.addresses import is_loopback
from medmvl.json_types import JsonObject
from medmvl.serving.places import Places
from medmvl.serving.refusals import Refusals, client_of
from medmvl.serving.settings import LARGE_BODY, Limits, ServeSettings, owner_of, visitor_owner
from medmvl.serving.visitors import Visitors

OPEN_PATHS = ("/", "/health", "/docs", "/openapi.json")
"""Paths served without a key; they expose no user data."""
DOCS_FOLDER = "/docs-static"
OPEN_FOLDERS = ("/page/static/", f"{DOCS_FOLDER}/")
UPLOADS = ("/v1/files", "/page/studies")
TOO_LARGE = (413, "the request is larger than this server takes", "too_large")
TOO_SLOW = (408, "the request came too slowly", "too_slow")
STOPPING = (503, "the server is stopping", "stopping")


class RefusedError(Exception):
    """A body was too large, too slow or too finely divided while it was received."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.answer = (status, message, code)


class Guard:
    """ASGI middleware: 401 without a key, 408 and 413 for slow and large bodies, 421 for a foreign host name on loopback.

    A client that is refused again and again waits before its next request is read.
    """

    def __init__(
        self, app: ASGIApp, settings: ServeSettings, visitors: Visitors, stopping: asyncio.Event
    ) -> None:
        self.app = app
        self.settings = settings
        self.visitors = visitors
        self.stopping = stopping
        self.refusals = Refusals(settings.limits)
        self._large = Places(settings.limits.large_bodies_at_once)
        self._uploads = Places(settings.limits.uploads_at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = _headers(scope)
        key = owner_of(headers.get("authorization"), self.settings.keys)
        client = client_of((scope.get("client") or ("",))[0], key)
        if _is_open(scope["path"]):
            await self._admit_body(scope, receive, send, headers, client)
            return

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.refusals.note(client, message["status"])
            await send(message)

        if await self.refusals.wait(client, self.stopping):
            await self._admit_body(scope, receive, noting, headers, client)
        else:
            await respond(send, 429, "refused too often; try again later", "refused_often")

    async def _admit_body(
        self, scope: Scope, receive: Receive, send: Send, headers: dict[str, str], client: str
    ) -> None:
        """Answer a request, or let it pass with a place for its body."""
        refused = self._refusal(scope["path"], headers)
        if refused is not None:
            await respond(send, *refused)
            return
        release = self._place(scope["path"], headers, client)
        if release is None:
            await respond(send, 429, "too many large requests at once; try again later", "too_many_large")
            return
        scope.setdefault("state", {}).update(owner=self._owner(headers), client=client, body_read=release)
        try:
            body = Body(receive, self.settings.limits, self._limit(scope["path"]), self.stopping)
            await self._pass_on(scope, body, send)
        finally:
            release()

    async def _pass_on(self, scope: Scope, body: Body, send: Send) -> None:
        """Run the application; what it makes of a refused body is replaced by the reason of the refusal."""
        sent = False

        async def noting(message: Message) -> None:
            nonlocal sent
            if body.refused is None or sent:
                sent = True
                await send(message)

        with suppress(RefusedError):
            await self.app(scope, body.receive, noting)
        if body.refused is not None and not sent:
            await respond(send, *body.refused.answer)

    def _place(self, path: str, headers: dict[str, str], client: str) -> Callable[[], None] | None:
        if path in UPLOADS:
            return self._uploads.take(client) if _length(headers) else _nothing
        return self._large.take(client) if _is_large(headers) else _nothing

    def _owner(self, headers: dict[str, str]) -> str | None:
        """The owner of the API key; for a browser that opened the page, the visitor within that key."""
        owner = owner_of(headers.get("authorization"), self.settings.keys)
        cookie = self.visitors.of_header(headers.get("cookie", ""))
        return visitor_owner(owner, cookie) if owner and cookie and self.settings.page else owner

    def _refusal(self, path: str, headers: dict[str, str]) -> tuple[int, str, str] | None:
        if not self.settings.keys and not is_loopback(_host(headers.get("host", ""))):
            return 421, "this server answers to localhost alone", "wrong_host"
        if _is_foreign(headers):
            return 403, "pages of other addresses may not ask this server", "wrong_origin"
        if not _is_open(path) and owner_of(headers.get("authorization"), self.settings.keys) is None:
            return 401, "a valid API key is needed: Authorization: Bearer KEY", "invalid_api_key"
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self._limit(path):
            return TOO_LARGE
        return None

    def _limit(self, path: str) -> int:
        limits: Limits = self.settings.limits
        return limits.upload_bytes + 2**20 if path in UPLOADS else limits.body_bytes


class Body:
    """The body of one request as it arrives, counted and timed; it is refused when the server stops."""

    def __init__(self, receive: Receive, limits: Limits, max_bytes: int, stopping: asyncio.Event) -> None:
        self.refused: RefusedError | None = None
        self._stopping = stopping
        self._receive = receive
        self._limits = limits
        self._max_bytes = max_bytes
        self._num_bytes = self._num_values = 0
        self._started = time.monotonic()
        self._deadline = self._started + limits.body_seconds
        self._complete = False

    async def receive(self) -> Message:
        """The next piece.

        Raises:
            RefusedError: too many bytes or values, or too slow.
        """
        if self._complete:
            return await self._receive()
        now = time.monotonic()
        seconds = min(self._limits.pause_seconds, self._deadline - now)
        if now > self._started + self._limits.pause_seconds + self._num_bytes / self._limits.bytes_per_second:
            seconds = 0.0
        received = asyncio.ensure_future(self._receive())
        stopped = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait(
                (received, stopped), timeout=max(0.001, seconds), return_when=asyncio.FIRST_COMPLETED
            )
            if not received.done():
                raise self._refuse(*(STOPPING if stopped.done() else TOO_SLOW))
            message = received.result()
        finally:
            received.cancel()
            stopped.cancel()
        self._complete = not message.get("more_body", False)
        self._count(message.get("body", b""))
        return message

    def _count(self, piece: bytes) -> None:
        self._num_bytes += len(piece)
        if self._num_bytes > self._max_bytes:
            raise self._refuse(*TOO_LARGE)
        if self._max_bytes == self._limits.body_bytes:  # JSON
            self._num_values += sum(piece.count(sign) for sign in (b"{", b"[", b","))
            if self._num_values > self._limits.values:
                message = (
                    f"the request holds more than {self._limits.values} values; send fewer messages or parts"
                )
                raise self._refuse(413, message, "too_many_values")

    def _refuse(self, status: int, message: str, code: str) -> RefusedError:
        self.refused = RefusedError(status, message, code)
        return self.refused


async def respond(send: Send, status: int, message: str, code: str) -> None:
    """Answer with an error in OpenAI's shape."""
    body = json.dumps(error_body(status, message, code)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status in (408, 413, 429, 503):
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    if status in (429, 503):
        headers.append((b"retry-after", b"1"))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def error_body(status: int, message: str, code: str | None = None, param: str | None = None) -> JsonObject:
    """An error as OpenAI's clients read it."""
    types = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    error_type = types.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": error_type, "param": param, "code": code}}


def _host(header: str) -> str:
    """The name in a Host header, without its port and brackets."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.rpartition(":")[0] if ":" in header else header


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith(OPEN_FOLDERS)


def _is_foreign(headers: dict[str, str]) -> bool:
    """Whether a browser says that a page from elsewhere asks."""
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host", "")


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}


def _length(headers: dict[str, str]) -> float:
    """Bytes of a body; infinite where it does not say its length."""
    length = headers.get("content-length")
    return int(length) if length is not None else float("inf") if "transfer-encoding" in headers else 0


def _is_large(headers: dict[str, str]) -> bool:
    """Whether a JSON body is large, or does not say its length."""
    return _length(headers) > LARGE_BODY


def _nothing() -> None:
    """Do nothing: there is no place to give back."""

"""Checks before every route: the size of a body, the name the server is called by, and who asks."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medmvl.addresses import is_loopback
from medmvl.serving.settings import LARGE_BODY, Limits, ServeSettings, owner_of, visitor_owner
from medmvl.serving.visitors import Visitors

OPEN_PATHS = ("/", "/health", "/docs", "/openapi.json")
"""Paths served without a key; they expose no user data."""
DOCS_FOLDER = "/docs-static"
OPEN_FOLDERS = ("/page/static/", f"{DOCS_FOLDER}/")
UPLOADS = ("/v1/files", "/page/studies")
TOO_LARGE = (413, "the request is larger than this server takes", "too_large")


class RefusedError(Exception):
    """A body was too large, too slow or too finely divided while it was received."""

    def __init__(self, status: int, message: str, code: str) -> None:
        super().__init__(message)
        self.answer = (status, message, code)


class Guard:
    """ASGI middleware: 401 without a key, 408 and 413 for slow and large bodies, 421 for a foreign host name on loopback."""

    def __init__(self, app: ASGIApp, settings: ServeSettings, visitors: Visitors) -> None:
        self.app = app
        self.settings = settings
        self.visitors = visitors
        self._num_large = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refusal(scope["path"], headers)
        if refused is not None:
            await respond(send, *refused)
            return
        release = self._large_body() if _is_large(scope["path"], headers) else _nothing
        scope.setdefault("state", {}).update(owner=self._owner(headers), body_read=release)
        try:
            await self._pass_on(scope, Body(receive, self.settings.limits, self._limit(scope["path"])), send)
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

    def _large_body(self) -> Callable[[], None]:
        """Take one of the places for large bodies; the result gives it back, once."""
        self._num_large += 1
        held = True

        def release() -> None:
            nonlocal held
            self._num_large -= held
            held = False

        return release

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
        if _is_large(path, headers) and self._num_large >= self.settings.limits.large_bodies_at_once:
            return 429, "too many large requests at once; try again later", "too_many_large"
        return None

    def _limit(self, path: str) -> int:
        limits: Limits = self.settings.limits
        return limits.upload_bytes + 2**20 if path in UPLOADS else limits.body_bytes


class Body:
    """The body of one request as it arrives, counted and timed."""

    def __init__(self, receive: Receive, limits: Limits, max_bytes: int) -> None:
        self.refused: RefusedError | None = None
        self._receive = receive
        self._limits = limits
        self._max_bytes = max_bytes
        self._num_bytes = self._num_values = 0
        self._deadline = time.monotonic() + limits.body_seconds
        self._complete = False

    async def receive(self) -> Message:
        """The next piece.

        Raises:
            RefusedError: too many bytes or values, or too slow.
        """
        if self._complete:
            return await self._receive()
        seconds = min(self._limits.pause_seconds, self._deadline - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(0.001, seconds))
        except TimeoutError:
            raise self._refuse(408, "the request came too slowly", "too_slow") from None
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
    if status in (408, 413):
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    if status == 429:
        headers.append((b"retry-after", b"1"))
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def error_body(
    status: int, message: str, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
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


def _is_large(path: str, headers: dict[str, str]) -> bool:
    """Whether a JSON body is large, or does not say its length."""
    if path in UPLOADS:
        return False
    length = headers.get("content-length")
    return int(length) > LARGE_BODY if length is not None else "transfer-encoding" in headers


def _nothing() -> None:
    """There is no place to give back."""

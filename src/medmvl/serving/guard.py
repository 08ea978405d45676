"""What stands before every route: the size of a body, the name the server is called by, and who asks."""

from __future__ import annotations

import json
from http.cookies import CookieError, SimpleCookie
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medmvl.serving.settings import Limits, ServeSettings, is_loopback, owner_of, visitor_owner

OPEN_PATHS = ("/", "/health", "/docs", "/openapi.json")
"""Known to all: they hold nothing of anyone."""
DOCS_FOLDER = "/docs-static"
OPEN_FOLDERS = ("/page/static/", f"{DOCS_FOLDER}/")
UPLOADS = ("/v1/files", "/page/studies")
VISITOR_COOKIE = "medmvl_visitor"


class TooLargeError(Exception):
    """A body went past its limit while it was received."""


class Guard:
    """ASGI middleware: 401 without a key, 413 for large bodies, 421 for a foreign host name on loopback."""

    def __init__(self, app: ASGIApp, settings: ServeSettings) -> None:
        self.app = app
        self.settings = settings

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
        scope.setdefault("state", {})["owner"] = self._owner(headers)
        counted, sent = _counting(receive, self._limit(scope["path"])), False

        async def noting(message: Message) -> None:
            nonlocal sent
            sent = True
            await send(message)

        try:
            await self.app(scope, counted, noting)
        except TooLargeError:
            if not sent:
                await respond(send, 413, "the request is larger than this server takes", "too_large")

    def _owner(self, headers: dict[str, str]) -> str | None:
        """Whose key it is; of browsers that opened the page, whose of those who share it."""
        owner = owner_of(headers.get("authorization"), self.settings.keys)
        cookie = _cookie(headers.get("cookie", ""))
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
            return 413, "the request is larger than this server takes", "too_large"
        return None

    def _limit(self, path: str) -> int:
        limits: Limits = self.settings.limits
        return limits.upload_bytes + 2**20 if path in UPLOADS else limits.body_bytes


def _counting(receive: Receive, limit: int) -> Receive:
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        if total > limit:
            raise TooLargeError
        return message

    return counted


async def respond(send: Send, status: int, message: str, code: str) -> None:
    """Answer with an error in OpenAI's shape."""
    body = json.dumps(error_body(status, message, code)).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def error_body(
    status: int, message: str, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


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


def _cookie(header: str) -> str | None:
    """The visitor's cookie; None where there is none that we could have given."""
    try:
        found = SimpleCookie(header).get(VISITOR_COOKIE)
    except CookieError:
        return None
    return found.value if found is not None and len(found.value) >= 40 else None

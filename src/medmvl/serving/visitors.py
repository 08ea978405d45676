"""Visitors of the page are distinguished by a cookie signed by this server; nobody can choose another's."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from http.cookies import CookieError, SimpleCookie

VISITOR_COOKIE = "medmvl_visitor"


class Visitors:
    """Issues cookies and knows its own; the key lives as long as the server, as uploads do."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def issue(self) -> str:
        """A cookie for a new visitor."""
        name = secrets.token_urlsafe(24)
        return f"{name}.{self._sign(name)}"

    def known(self, cookie: str | None) -> str | None:
        """The cookie if this server issued it, else None."""
        name, _, signature = (cookie or "").partition(".")
        expected = self._sign(name)
        return cookie if hmac.compare_digest(signature.encode(), expected.encode()) else None

    def of_header(self, header: str) -> str | None:
        """The visitor's cookie in a Cookie header, if this server issued it."""
        try:
            found = SimpleCookie(header).get(VISITOR_COOKIE)
        except CookieError:
            return None
        return self.known(found.value) if found is not None else None

    def _sign(self, name: str) -> str:
        return hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()

"""Clients that are refused again and again wait before they are heard again, each time longer."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, OrderedDict
from contextlib import suppress
from ipaddress import IPv6Address, ip_address

from medmvl.serving.settings import Limits

COUNTED = frozenset({400, 401, 403, 408, 413, 415, 421, 422})
"""HTTP statuses of wrong requests; 429 and 503, which depend on the moment, are not among them."""
FIRST_WAIT = 0.25
"""Seconds; doubled with every further refusal."""
FORGIVEN_SECONDS = 6.0
"""Seconds after which one refusal is forgotten."""
FORGIVEN_BY_SUCCESS = 0.5
"""Number of refusals that one answered request cancels."""
MAX_CLIENTS = 10_000


class Refusals:
    """How often each client was refused lately."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # refusals, and when
        self._waiting: Counter[str] = Counter()

    def seconds(self, client: str) -> float:
        """How long a client's next request waits."""
        level = self._level(client)
        over = math.ceil(level) - self._limits.free_refusals
        if not level or over < 0 or not self._limits.longest_wait_seconds:
            return 0.0
        return float(min(self._limits.longest_wait_seconds, FIRST_WAIT * 2.0**over))

    def note(self, client: str, status: int) -> None:
        """Count how a request ended."""
        level = self._level(client)
        if status in COUNTED:
            level = min(level + 1, self._limits.free_refusals + 10)
        elif status < 300:
            level = max(0.0, level - FORGIVEN_BY_SUCCESS)
        else:
            return
        self._levels[client] = level, time.monotonic()
        self._levels.move_to_end(client)
        if not level:
            del self._levels[client]
        if len(self._levels) > MAX_CLIENTS:
            self._levels.popitem(last=False)

    async def wait(self, client: str, stopping: asyncio.Event) -> bool:
        """Wait as long as the client must, or until the server stops; False where too many of its requests wait already."""
        seconds = self.seconds(client)
        if not seconds:
            return True
        if self._waiting[client] >= self._limits.waiting_refused:
            return False
        self._waiting[client] += 1
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), seconds)
        finally:
            self._waiting[client] -= 1
            if not self._waiting[client]:
                del self._waiting[client]
        return True

    def _level(self, client: str) -> float:
        level, when = self._levels.get(client, (0.0, 0.0))
        return max(0.0, level - (time.monotonic() - when) / FORGIVEN_SECONDS)


def client_of(address: str, key: str | None) -> str:
    """The client that waits: an address with its key; of IPv6 the first 64 bits, all of which one client owns."""
    try:
        found = ip_address(address)
    except ValueError:
        return f"{address} {key}"
    if isinstance(found, IPv6Address):
        address = str(IPv6Address(int(found) >> 64 << 64))
    return f"{address} {key}"

"""A limited number of places for many clients: waiting clients take turns, and no client holds all places."""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from medmvl.errors import UserError


class TooManyError(UserError):
    """A client waits for too much at once."""


class Turns:
    """Places for work; used in one event loop.

    Args:
        places: for all clients together.
        share: places that one client may hold.
        waiting: places that one client may wait for.
    """

    def __init__(self, places: int, share: int, waiting: int) -> None:
        self._free, self._share, self._waiting = places, share, waiting
        self._held: Counter[str] = Counter()
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def of(self, client: str) -> AsyncIterator[None]:
        """Hold a place, after waiting for it in turn.

        Raises:
            TooManyError: the client waits for as much already as it may.
        """
        await self._enter(client)
        try:
            yield
        finally:
            self._leave(client)

    async def _enter(self, client: str) -> None:
        queue = self._queues.setdefault(client, deque())
        if len(queue) >= self._waiting:
            raise TooManyError(f"{len(queue)} requests of yours wait to be read; try again later")
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._admit()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._forget(client, turn)
            else:
                self._leave(client)
            raise

    def _leave(self, client: str) -> None:
        self._free += 1
        self._held[client] -= 1
        self._held += Counter()  # forgets clients that hold nothing
        self._admit()

    def _forget(self, client: str, turn: asyncio.Future[None]) -> None:
        self._queues[client].remove(turn)
        if not self._queues[client]:
            del self._queues[client]

    def _admit(self) -> None:
        """Let in, one after another, who may hold a place and was let in least recently."""
        while self._free:
            client = next((name for name in self._queues if self._held[name] < self._share), None)
            if client is None:
                return
            queue = self._queues.pop(client)
            turn = queue.popleft()
            if queue:
                self._queues[client] = queue  # at the end
            if not turn.cancelled():
                self._free -= 1
                self._held[client] += 1
                turn.set_result(None)

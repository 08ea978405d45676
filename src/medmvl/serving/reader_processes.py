"""Processes that read what clients send, so that the process that answers neither waits for it nor ends with it.

Bodies with images and uploads are parsed, unpacked and decoded there, at a lower priority. One client's files never take all of
them, one that takes too long is ended, and one that a file ends is replaced.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from medmvl.errors import UserError
from medmvl.serving.turns import Turns
from medmvl.worker_processes import end_with_parent

logger = logging.getLogger(__name__)
NICENESS = 10
"""Niceness of reader processes: decoding answers has right of way."""
T = TypeVar("T")


class ReaderProcesses:
    """A few processes, taken in turns.

    Args:
        count: how many; each client may hold all but one of them.
        seconds: longest time for one call.
        waiting: calls per client that may wait.
    """

    def __init__(self, count: int, seconds: float, waiting: int) -> None:
        self._seconds = seconds
        self._turns = Turns(count, max(1, count - 1), waiting)
        self._pool = ProcessPool(
            max_workers=count, initializer=_become_reader, context=multiprocessing.get_context("spawn")
        )

    def start(self) -> None:
        """Start a process now, so that the first client does not wait for it."""
        self._pool.schedule(_import_readers)

    async def run(self, client: str, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function of a module in a process; cancelling the task ends the process.

        Raises:
            UserError: it took too long, or ended its process.
            TooManyError: too many calls of this client wait.
            Exception: what the function raises.
        """
        async with self._turns.of(client):
            called = self._pool.schedule(function, args=arguments, timeout=self._seconds)
            try:
                result: T = await asyncio.wrap_future(called)
            except TimeoutError:
                raise UserError(f"reading it took more than {self._seconds:g} seconds") from None
            except ProcessExpired as error:
                logger.warning("a reader process ended with code %s", error.exitcode)
                raise UserError("it is damaged so that it ended the process that read it") from None
            return result

    def close(self) -> None:
        """End the processes and what they do."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()


def _become_reader() -> None:
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the server decides what Ctrl-C in its terminal means
    with suppress(OSError):
        os.nice(NICENESS)


def _import_readers() -> None:
    import medmvl.serving.chat_bodies  # noqa: F401

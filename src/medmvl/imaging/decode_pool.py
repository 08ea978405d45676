"""A small pool of decoding processes: a codec that crashes on damaged bytes ends its own process and nothing else.

Started at the first compressed frame, further ones where what is left to decode is worth their start, and reused; safe under
threads, and forgotten after a fork, so that every process has its own. A worker runs decode_worker.py in a fresh interpreter.
Pixels come back in anonymous shared memory: nothing in /dev/shm has a name, so nothing is left there. A worker ends with its
parent, however that ends.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from medmvl.imaging import decode_worker
from medmvl.imaging.decode_job import DecodeJob
from medmvl.imaging.decode_process import Decoded, DecodeProcess, Failure, Request

SCRIPT = Path(decode_worker.__file__)
MAX_WORKERS = 4


def max_workers() -> int:
    """Workers of this process: one per core it may use and at most four, shared among the processes of a `torchrun`, one within
    a process that is itself one of several (a data loader's).
    """  # noqa: D205
    if multiprocessing.parent_process() is not None:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    local = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, min(MAX_WORKERS, cores // max(1, int(local) if local.isdigit() else 1)))


class DecodePool:
    """Decoding processes, started as they are needed.

    Args:
        limit: how many at most; None for `max_workers`.
        script: what they run.
    """

    def __init__(self, limit: int | None = None, script: Path = SCRIPT) -> None:
        self.limit, self.script = limit or max_workers(), script
        self._idle: list[DecodeProcess] = []
        self._workers: set[DecodeProcess] = set()
        self._num_workers = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()
        self._own = threading.local()

    def decode(self, requests: Sequence[Request]) -> Iterator[Decoded | Failure]:
        """Yield the answer to every request, in order.

        Raises:
            UserError: no process can be started.
        """
        job = DecodeJob(self, requests)
        try:
            for number in range(len(requests)):
                while number not in job.answers:
                    job.advance(number)
                yield job.answers.pop(number)
        finally:
            job.close()

    def take(self, *, wait: bool) -> DecodeProcess | None:
        """Borrow a worker, in turn; without `wait`, None where all are busy. A caller that holds one already never waits."""
        held = getattr(self._own, "held", 0)
        with self._changed:
            if not held and wait:
                self._queue_up()
            elif not wait and (self._queue or not self._available):
                return None
            worker = self._idle.pop() if self._idle else None
            self._num_workers += worker is None
        if worker is None:
            worker = self._started()
        self._own.held = held + 1
        return worker

    @property
    def _available(self) -> bool:
        return bool(self._idle) or self._num_workers < self.limit

    def _queue_up(self) -> None:
        ticket = object()
        self._queue.append(ticket)
        try:
            self._changed.wait_for(lambda: self._queue[0] is ticket and self._available)
        finally:
            self._queue.remove(ticket)
            self._changed.notify_all()

    def _started(self) -> DecodeProcess:
        try:
            worker = DecodeProcess.start(self.script)
        except BaseException:
            self._one_less()
            raise
        with self._changed:
            self._workers.add(worker)
        return worker

    def _one_less(self) -> None:
        with self._changed:
            self._num_workers -= 1
            self._changed.notify_all()

    def give_back(self, worker: DecodeProcess, *, broken: bool = False) -> None:
        """Return a worker; one that is broken, or has work that nobody waits for, is ended."""
        self._own.held = getattr(self._own, "held", 1) - 1
        if worker.closed:  # by a fork since
            return
        if broken or worker.running or self._num_workers > self.limit:
            worker.close(kill=True)
            self._workers.discard(worker)
            self._one_less()
            return
        with self._changed:
            self._idle.append(worker)
            self._changed.notify_all()

    @property
    def has_idle(self) -> bool:
        """Whether a worker that has been started waits for work."""
        return bool(self._idle)

    @property
    def wanted(self) -> bool:
        """Whether another thread waits for a worker."""
        return bool(self._queue)

    def processes(self) -> list[int]:
        """Process ids of the workers."""
        return [worker.process.pid for worker in list(self._workers)]

    def close(self) -> None:
        """End the idle workers."""
        with self._changed:
            idle, self._idle = self._idle, []
            self._num_workers -= len(idle)
            self._workers -= set(idle)
        for worker in idle:
            worker.close(kill=False)

    def forget(self) -> None:
        """In a forked child: let go of the parent's workers."""
        for worker in self._workers:
            worker.forget()


_shared: DecodePool | None = None
_shared_lock = threading.Lock()


def shared_pool() -> DecodePool:
    """This process's pool, made at the first call."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = DecodePool()
        return _shared


def _close_shared() -> None:
    if _shared is not None:
        _shared.close()


def _after_fork() -> None:
    global _shared, _shared_lock
    _shared_lock = threading.Lock()
    if _shared is not None:
        _shared.forget()
        _shared = None


atexit.register(_close_shared)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

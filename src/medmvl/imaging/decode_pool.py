"""A small pool of decoding processes, so that a codec that ends its process on damaged bytes ends nothing else.

Started at the first compressed frame and reused; safe under threads, and forgotten after a fork, so that every process has
its own. A worker runs decode_worker.py in a fresh interpreter. Pixels come back in anonymous shared memory: nothing in /dev/shm
has a name, so nothing is left there. A worker ends with its parent, however that ends.
"""

from __future__ import annotations

import atexit
import mmap
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import UserError
from medmvl.imaging import decode_worker
from medmvl.imaging.decode_worker import ALIGNMENT, MARK

SCRIPT = Path(decode_worker.__file__)
MAX_WORKERS = 4
BATCH_BYTES, BATCH_REQUESTS = 2**22, 32
BATCHES_FOR_ANOTHER = 4
"""Batches that must be left for it to pay to start another worker."""
START_SECONDS = 120.0
KEPT_SLOT_BYTES = 2**26
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_ENVIRONMENT = {**_ONE_THREAD, "MALLOC_MMAP_THRESHOLD_": str(2**26), "MALLOC_TRIM_THRESHOLD_": str(2**27)}
Reason = Literal["damaged", "other size", "other shape", "memory", "no codec", "ended", "time"]


class Request(NamedTuple):
    """Frames of one file, as decode_worker understands them, and the bytes that they may fill."""

    message: dict[str, Any]
    num_bytes: int


class Failure(NamedTuple):
    """Why one request has no pixels."""

    reason: Reason
    found: tuple[int, ...] = ()


Decoded = list[tuple[NDArray[Any], str]]
"""Stored values of each frame, and their photometric interpretation."""


@dataclass
class _Batch:
    """Requests that travel together, by their numbers; `alone` on a fresh worker, where one is suspected of ending it."""

    numbers: list[int]
    alone: bool = False
    attempts: int = 0


class _Slot:
    """Anonymous shared memory for the answers to one batch."""

    def __init__(self, size: int) -> None:
        if hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create("medmvl-pixels", os.MFD_CLOEXEC)
        else:
            with tempfile.TemporaryFile() as file:  # no name from the start
                self.descriptor = os.dup(file.fileno())
        os.ftruncate(self.descriptor, size)
        self.memory, self.size, self.sent = mmap.mmap(self.descriptor, size), size, False

    def close(self) -> None:
        self.memory.close()
        os.close(self.descriptor)


@dataclass(eq=False)
class _Worker:
    """One decoding process as its parent sees it."""

    process: subprocess.Popen[bytes]
    connection: socket.socket
    lifeline: int
    complaints: Any
    """Text it wrote before it was ready."""
    slots: list[_Slot | None] = field(default_factory=lambda: [None, None])
    running: dict[int, _Batch] = field(default_factory=dict)
    """Batches that it has, by slot, oldest first."""
    ready: bool = False
    used: bool = False
    progress: tuple[int, int] = (-1, -1)
    since: float = field(default_factory=time.monotonic)
    closed: bool = False

    @classmethod
    def start(cls, script: Path) -> _Worker:
        """Start a process and tell it where modules are found; it is not waited for."""
        ours, its = socket.socketpair()
        its_end, our_end = os.pipe()
        complaints = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the worker)
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(script), str(its.fileno()), str(its_end)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaints, cwd="/",
                pass_fds=(its.fileno(), its_end), env={**os.environ, **_ENVIRONMENT},
            )  # fmt: skip
        except OSError as error:
            ours.close()
            os.close(our_end)
            raise UserError(f"no process to decode pixels could be started: {error.strerror}") from error
        finally:
            its.close()
            os.close(its_end)
        worker = cls(process, ours, our_end, complaints)
        decode_worker.send(ours, {"path": [str(Path(entry).absolute()) for entry in sys.path]})
        return worker

    def free_slot(self) -> int | None:
        return next((slot for slot in range(len(self.slots)) if slot not in self.running), None)

    def submit(self, batch: _Batch, requests: Sequence[Request]) -> None:
        """Send a batch; it must have a free slot."""
        number = self.free_slot()
        assert number is not None
        chosen = [requests[n] for n in batch.numbers]
        slot = self._slot_for(number, sum(one.num_bytes + ALIGNMENT for one in chosen) + ALIGNMENT)
        MARK.pack_into(slot.memory, 0, -1)
        if not self.running:
            self.since = time.monotonic()
        self.running[number] = batch
        batch.attempts += 1
        message = {"slot": number, "requests": [one.message for one in chosen]}
        decode_worker.send(self.connection, message, None if slot.sent else slot.descriptor)
        slot.sent = True

    def _slot_for(self, number: int, size: int) -> _Slot:
        slot = self.slots[number]
        if slot is None or slot.size < size or slot.size > KEPT_SLOT_BYTES:
            if slot is not None:
                slot.close()
            slot = self.slots[number] = _Slot(max(size, 2 * BATCH_BYTES))
        return slot

    def mark(self) -> int:
        """The request that it is decoding, counted in its oldest batch; -1 before the first."""
        slot = self.slots[next(iter(self.running))]
        assert slot is not None
        return int(MARK.unpack_from(slot.memory)[0])

    def receive(self) -> tuple[_Batch, list[Decoded | Failure]] | None:
        """Take what it has sent: the answers to a batch, copied out of the slot, or None when it says that it is ready."""
        message, _ = decode_worker.receive(self.connection)
        if not self.ready:
            self.ready = bool(message["ready"])
            return None
        number = message["slot"]
        slot, batch = self.slots[number], self.running[number]
        assert slot is not None and len(message["answers"]) == len(batch.numbers)
        answers = [_unpacked(answer, slot.memory) for answer in message["answers"]]
        del self.running[number]
        self.used, self.since = True, time.monotonic()
        return batch, answers

    def ended(self, *, kill: bool) -> int:
        """Wait until it has ended and return its status; `kill` it first, or after two seconds."""
        if kill:
            self.process.kill()
        try:
            return self.process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return -signal.SIGKILL

    def close(self, *, kill: bool) -> None:
        """End it: at once, or by closing the socket that it waits at."""
        if not self.closed:
            self._let_go()
            self.ended(kill=kill)

    def forget(self) -> None:
        """In a forked child: close what was inherited; the worker stays the parent's."""
        if not self.closed:
            self.process.returncode = 0  # so that Popen does not warn about a process that is not ours
            self._let_go()

    def _let_go(self) -> None:
        self.closed = True
        self.connection.close()
        os.close(self.lifeline)
        self.complaints.close()
        for slot in self.slots:
            if slot is not None:
                slot.close()


def _unpacked(answer: dict[str, Any], memory: mmap.mmap) -> Decoded | Failure:
    if "error" in answer:
        return Failure(answer["error"], tuple(int(n) for n in answer.get("found", ())))
    frames: Decoded = []
    for at, code, shape, photometric in answer["frames"]:
        dtype = np.dtype(code)
        if dtype.hasobject:
            raise ValueError("a worker answers with objects")
        flat = np.frombuffer(memory, dtype, int(np.prod(shape)), at)
        frames.append((flat.reshape(shape).copy(), str(photometric)))
    return frames


def max_workers() -> int:
    """Workers of this process: one a core it may use and at most four, shared among the processes of a `torchrun`, one within
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
        self._idle: list[_Worker] = []
        self._workers: set[_Worker] = set()
        self._num_workers = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()
        self._own = threading.local()

    def decode(self, requests: Sequence[Request]) -> Iterator[Decoded | Failure]:
        """Yield the answer to every request, in order.

        Raises:
            UserError: no process can be started.
        """
        job = _Job(self, requests)
        try:
            for number in range(len(requests)):
                while number not in job.answers:
                    job.advance(number)
                yield job.answers.pop(number)
        finally:
            job.close()

    def take(self, *, wait: bool) -> _Worker | None:
        """Borrow a worker, in turn; without `wait`, None where all are busy. Who holds one already is never made to wait."""
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

    def _started(self) -> _Worker:
        try:
            worker = _Worker.start(self.script)
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

    def give_back(self, worker: _Worker, *, broken: bool = False) -> None:
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


class _Job:
    """One call of `decode`: what is left to do, who does it, what has come back."""

    def __init__(self, pool: DecodePool, requests: Sequence[Request]) -> None:
        self.pool, self.requests = pool, requests
        self.waiting = deque(_batches(requests))
        self.workers: list[_Worker] = []
        self.hired: set[_Worker] = set()
        """Workers that have not been given anything yet."""
        self.answers: dict[int, Decoded | Failure] = {}

    def advance(self, number: int) -> None:
        """Hand out work and wait for an answer; `number` is the request whose turn it is."""
        self._hand_out(number)
        self._collect()

    def close(self) -> None:
        for worker in self.workers:
            self.pool.give_back(worker)
        self.workers = []

    def _hand_out(self, number: int) -> None:
        if self.waiting and not self.workers:
            self._hire(wait=True)
        elif len(self.waiting) >= BATCHES_FOR_ANOTHER and len(self.workers) < self.pool.limit:
            self._hire(wait=False)
        ahead = number + 4 * BATCH_REQUESTS * self.pool.limit  # how far results may pile up
        for worker in list(self.workers):
            if self.pool.wanted and worker not in self.hired:
                self._release(worker)
                continue
            while not worker.closed and self._has_work_for(worker, ahead):
                if self.waiting[0].alone and (worker.used or worker.running):
                    if not worker.running:
                        self._replace(worker)
                    break
                self._submit(worker, self.waiting.popleft())
        if self.waiting and not any(worker.running for worker in self.workers):
            self._hand_out(number)

    def _has_work_for(self, worker: _Worker, ahead: int) -> bool:
        return bool(self.waiting) and worker.free_slot() is not None and self.waiting[0].numbers[0] < ahead

    def _hire(self, *, wait: bool) -> None:
        worker = self.pool.take(wait=wait)
        if worker is not None:
            self.workers.append(worker)
            self.hired.add(worker)

    def _release(self, worker: _Worker) -> None:
        if not worker.running:
            self.workers.remove(worker)
            self.pool.give_back(worker)

    def _replace(self, worker: _Worker) -> None:
        self.workers.remove(worker)
        self.pool.give_back(worker, broken=True)
        self._hire(wait=True)

    def _submit(self, worker: _Worker, batch: _Batch) -> None:
        self.hired.discard(worker)
        try:
            worker.submit(batch, self.requests)
        except OSError:  # it ended while it was idle
            self._bury(worker)

    def _collect(self) -> None:
        busy = {worker.connection: worker for worker in self.workers if worker.running}
        readable = wait(list(busy), timeout=1.0) if busy else []
        for connection, worker in busy.items():
            if connection in readable:
                self._take_answers(worker)
            else:
                self._check_time(worker)

    def _take_answers(self, worker: _Worker) -> None:
        try:
            received = worker.receive()
        except (
            EOFError,
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AssertionError,
        ):  # it ended, or talks nonsense
            self._bury(worker)
            return
        if received is not None:
            batch, answers = received
            self.answers.update(zip(batch.numbers, answers, strict=True))

    def _check_time(self, worker: _Worker) -> None:
        slot = next(iter(worker.running))
        now, progress = time.monotonic(), (slot, worker.mark())
        if progress != worker.progress:
            worker.progress, worker.since = progress, now
        options = self.requests[worker.running[slot].numbers[max(0, progress[1])]].message["options"]
        megapixels = options["rows"] * options["columns"] / 1e6
        seconds = 10 * (decode_worker.CPU_SECONDS + decode_worker.CPU_SECONDS_PER_MEGAPIXEL * megapixels)
        if now - worker.since > (seconds if worker.ready else START_SECONDS):
            self._bury(worker, late=True)

    def _bury(self, worker: _Worker, *, late: bool = False) -> None:
        """Deal with a worker that has ended or must: blame the request it was at, and put the others back."""
        batches, mark = list(worker.running.values()), worker.mark() if worker.running else -1
        was_fresh = not worker.used and mark <= 0
        status = worker.ended(kill=late)
        said = "" if worker.ready else _last_line(worker.complaints)
        worker.running = {}
        self.workers.remove(worker)
        self.pool.give_back(worker, broken=True)
        if not worker.ready and (late or status >= 0):
            raise UserError(f"the process that decodes pixels does not start: {said or 'no reason given'}")
        for batch in reversed(batches[1:]):
            self.waiting.appendleft(batch)
        if batches:
            self._blame(batches[0], mark, was_fresh, late or status == -signal.SIGPROF)

    def _blame(self, batch: _Batch, mark: int, was_fresh: bool, late: bool) -> None:
        if not 0 <= mark < len(batch.numbers):
            if batch.attempts >= 3:
                self.answers.update((number, Failure("ended")) for number in batch.numbers)
            else:
                self.waiting.appendleft(batch)
            return
        before, culprit, after = batch.numbers[:mark], batch.numbers[mark], batch.numbers[mark + 1 :]
        if after:
            self.waiting.appendleft(_Batch(after))
        if late or batch.alone or was_fresh:
            self.answers[culprit] = Failure("time" if late else "ended")
        else:  # an earlier file may have harmed the worker: this one is tried again by itself
            self.waiting.appendleft(_Batch([culprit], alone=True))
        if before:
            self.waiting.appendleft(_Batch(before))


def _batches(requests: Sequence[Request]) -> Iterable[_Batch]:
    numbers: list[int] = []
    size = 0
    for number, request in enumerate(requests):
        if numbers and (size + request.num_bytes > BATCH_BYTES or len(numbers) == BATCH_REQUESTS):
            yield _Batch(numbers)
            numbers, size = [], 0
        numbers.append(number)
        size += request.num_bytes
    if numbers:
        yield _Batch(numbers)


def _last_line(file: Any) -> str:
    file.seek(0)
    lines = file.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""


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

"""One call of the decoding pool: batches go to processes; a request that ends its process is found and tried again alone."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Iterable, Sequence
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from medmvl.errors import UserError
from medmvl.imaging.decode_process import BATCH_BYTES, Batch, Decoded, DecodeProcess, Failure, Request
from medmvl.imaging.decode_worker import CPU_SECONDS, CPU_SECONDS_PER_MEGAPIXEL

if TYPE_CHECKING:
    from medmvl.imaging.decode_pool import DecodePool

BATCH_REQUESTS = 32
BATCHES_FOR_ANOTHER = 4
"""Batches that must be left to share them with another process."""
START_SECONDS = 120.0


def start_pays(left: float, num_workers: int, start: float) -> bool:
    """Whether one more process saves at least the time that its start takes.

    `left` seconds of work end after left / n; with a process that joins after its start they end
    (left - n start) / (n (n + 1)) earlier.

    Args:
        left: CPU seconds of the work that nobody has begun.
        num_workers: n, the processes at work.
        start: CPU seconds of a start.
    """
    return left - num_workers * start >= num_workers * (num_workers + 1) * start


class DecodeJob:
    """One call of `decode`: what is left to do, who does it, what has come back."""

    def __init__(self, pool: DecodePool, requests: Sequence[Request]) -> None:
        self.pool, self.requests = pool, requests
        self.waiting = deque(_batches(requests))
        self.workers: list[DecodeProcess] = []
        self.hired: set[DecodeProcess] = set()
        """Workers that have not been given anything yet."""
        self.answers: dict[int, Decoded | Failure] = {}
        self.seconds, self.num_bytes = 0.0, 0
        """CPU seconds of the answers so far, and bytes that they may fill."""

    def advance(self, number: int) -> None:
        """Hand out work and wait for an answer; `number` is the request whose turn it is."""
        self._hand_out(number)
        self._collect()

    def close(self) -> None:
        """Give all processes back."""
        for worker in self.workers:
            self.pool.give_back(worker)
        self.workers = []

    def _hand_out(self, number: int) -> None:
        if self.waiting and not self.workers:
            self._hire(wait=True)
        elif len(self.waiting) >= BATCHES_FOR_ANOTHER and (self.pool.has_idle or self._start_pays()):
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

    def _start_pays(self) -> bool:
        """Judge by the answers so far what is left to do: a frame takes 1 ms in RLE, 40 in JPEG 2000."""
        if not self.num_bytes or len(self.workers) >= self.pool.limit:
            return False
        left = sum(self.requests[number].num_bytes for batch in self.waiting for number in batch.numbers)
        start = max(worker.start_seconds for worker in self.workers)
        return start_pays(left * self.seconds / self.num_bytes, len(self.workers), start)

    def _has_work_for(self, worker: DecodeProcess, ahead: int) -> bool:
        return bool(self.waiting) and worker.free_slot() is not None and self.waiting[0].numbers[0] < ahead

    def _hire(self, *, wait: bool) -> None:
        worker = self.pool.take(wait=wait)
        if worker is not None:
            self.workers.append(worker)
            self.hired.add(worker)

    def _release(self, worker: DecodeProcess) -> None:
        if not worker.running:
            self.workers.remove(worker)
            self.pool.give_back(worker)

    def _replace(self, worker: DecodeProcess) -> None:
        self.workers.remove(worker)
        self.pool.give_back(worker, broken=True)
        self._hire(wait=True)

    def _submit(self, worker: DecodeProcess, batch: Batch) -> None:
        self.hired.discard(worker)
        try:
            worker.submit(batch, self.requests)
        except OSError:  # it ended while it was idle
            self._give_up(worker)

    def _collect(self) -> None:
        busy = {worker.connection: worker for worker in self.workers if worker.running}
        readable = wait(list(busy), timeout=1.0) if busy else []
        for connection, worker in busy.items():
            if connection in readable:
                self._take_answers(worker)
            else:
                self._check_time(worker)

    def _take_answers(self, worker: DecodeProcess) -> None:
        try:
            received = worker.receive()
        except (
            EOFError,
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AssertionError,
        ):  # it ended, or its answer cannot be parsed
            self._give_up(worker)
            return
        if received is not None:
            self.answers.update(zip(received.batch.numbers, received.answers, strict=True))
            self.seconds += received.seconds
            self.num_bytes += sum(self.requests[number].num_bytes for number in received.batch.numbers)

    def _check_time(self, worker: DecodeProcess) -> None:
        slot = next(iter(worker.running))
        now, progress = time.monotonic(), (slot, worker.mark())
        if progress != worker.progress:
            worker.progress, worker.since = progress, now
        options = self.requests[worker.running[slot].numbers[max(0, progress[1])]].message["options"]
        megapixels = options["rows"] * options["columns"] / 1e6
        seconds = 10 * (CPU_SECONDS + CPU_SECONDS_PER_MEGAPIXEL * megapixels)
        if now - worker.since > (seconds if worker.ready else START_SECONDS):
            self._give_up(worker, late=True)

    def _give_up(self, worker: DecodeProcess, *, late: bool = False) -> None:
        """Give up a worker that has ended or must end: the request it was decoding fails, the others are queued again."""
        batches, mark = list(worker.running.values()), worker.mark() if worker.running else -1
        was_fresh = not worker.used and mark <= 0
        status = worker.ended(kill=late)
        said = "" if worker.ready else worker.last_words()
        worker.running = {}
        self.workers.remove(worker)
        self.pool.give_back(worker, broken=True)
        if not worker.ready and (late or status >= 0):
            raise UserError(f"the process that decodes pixels does not start: {said or 'no reason given'}")
        for batch in reversed(batches[1:]):
            self.waiting.appendleft(batch)
        if batches:
            self._blame(batches[0], mark, was_fresh, late or status == -signal.SIGPROF)

    def _blame(self, batch: Batch, mark: int, was_fresh: bool, late: bool) -> None:
        if not 0 <= mark < len(batch.numbers):
            if batch.attempts >= 3:
                self.answers.update((number, Failure("ended")) for number in batch.numbers)
            else:
                self.waiting.appendleft(batch)
            return
        before, culprit, after = batch.numbers[:mark], batch.numbers[mark], batch.numbers[mark + 1 :]
        if after:
            self.waiting.appendleft(Batch(after))
        if late or batch.alone or was_fresh:
            self.answers[culprit] = Failure("time" if late else "ended")
        else:  # an earlier file may have damaged the worker: this one is tried again alone
            self.waiting.appendleft(Batch([culprit], alone=True))
        if before:
            self.waiting.appendleft(Batch(before))


def _batches(requests: Sequence[Request]) -> Iterable[Batch]:
    numbers: list[int] = []
    size = 0
    for number, request in enumerate(requests):
        if numbers and (size + request.num_bytes > BATCH_BYTES or len(numbers) == BATCH_REQUESTS):
            yield Batch(numbers)
            numbers, size = [], 0
        numbers.append(number)
        size += request.num_bytes
    if numbers:
        yield Batch(numbers)

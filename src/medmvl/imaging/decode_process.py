"""One decoding process as its parent sees it: started, sent batches of frames, and its answers copied out of shared memory."""

from __future__ import annotations

import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import UserError
from medmvl.imaging import decode_worker
from medmvl.imaging.decode_worker import ALIGNMENT, MARK
from medmvl.json_types import JsonObject

BATCH_BYTES = 2**22
KEPT_SLOT_BYTES = 2**26
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_ENVIRONMENT = {**_ONE_THREAD, "MALLOC_MMAP_THRESHOLD_": str(2**26), "MALLOC_TRIM_THRESHOLD_": str(2**27)}
Reason = Literal["damaged", "other size", "other shape", "memory", "no codec", "ended", "time"]


class Request(NamedTuple):
    """Frames of one file, as decode_worker understands them, and the bytes that they may fill."""

    message: JsonObject
    num_bytes: int


class Failure(NamedTuple):
    """Why one request has no pixels."""

    reason: Reason
    found: tuple[int, ...] = ()


Decoded = list[tuple[NDArray[Any], str]]
"""Stored values of each frame, and their photometric interpretation."""


class Answered(NamedTuple):
    """What a process sends back for a batch."""

    batch: Batch
    answers: list[Decoded | Failure]
    seconds: float
    """CPU seconds that they took."""


@dataclass
class Batch:
    """Requests that travel together, by their numbers; `alone` on a fresh worker, where one is suspected of ending it."""

    numbers: list[int]
    alone: bool = False
    attempts: int = 0


class Slot:
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
        """Free the memory."""
        self.memory.close()
        os.close(self.descriptor)


@dataclass(eq=False)
class DecodeProcess:
    """A process, the socket to it, and the shared memory for its answers."""

    process: subprocess.Popen[bytes]
    connection: socket.socket
    lifeline: int
    complaints: Any
    """Text it wrote before it was ready."""
    slots: list[Slot | None] = field(default_factory=lambda: [None, None])
    running: dict[int, Batch] = field(default_factory=dict)
    """Batches that it has, by slot, oldest first."""
    ready: bool = False
    start_seconds: float = 0.0
    """CPU seconds of its start, once it is ready."""
    used: bool = False
    progress: tuple[int, int] = (-1, -1)
    since: float = field(default_factory=time.monotonic)
    closed: bool = False

    @classmethod
    def start(cls, script: Path) -> DecodeProcess:
        """Start a process and tell it where modules are found; it is not waited for."""
        ours, its = socket.socketpair()
        its_end, our_end = os.pipe()
        complaints = tempfile.TemporaryFile()  # noqa: SIM115  (lives as long as the worker)
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(script), str(its.fileno()), str(its_end)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                cwd="/",
                pass_fds=(its.fileno(), its_end),
                env={**os.environ, **_ENVIRONMENT},
            )
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
        """The number of a slot that no batch is in."""
        return next((slot for slot in range(len(self.slots)) if slot not in self.running), None)

    def submit(self, batch: Batch, requests: Sequence[Request]) -> None:
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

    def _slot_for(self, number: int, size: int) -> Slot:
        slot = self.slots[number]
        if slot is None or slot.size < size or slot.size > KEPT_SLOT_BYTES:
            if slot is not None:
                slot.close()
            slot = self.slots[number] = Slot(max(size, 2 * BATCH_BYTES))
        return slot

    def mark(self) -> int:
        """The request that it is decoding, counted in its oldest batch; -1 before the first."""
        slot = self.slots[next(iter(self.running))]
        assert slot is not None
        return int(MARK.unpack_from(slot.memory)[0])

    def receive(self) -> Answered | None:
        """Take what it has sent: the answers to a batch, copied out of the slot, or None when it says that it is ready."""
        message, _ = decode_worker.receive(self.connection)
        if not self.ready:
            self.ready, self.start_seconds = bool(message["ready"]), float(message["cpu"])
            return None
        number = message["slot"]
        slot, batch = self.slots[number], self.running[number]
        assert slot is not None and len(message["answers"]) == len(batch.numbers)
        answers = [_unpacked(answer, slot.memory) for answer in message["answers"]]
        del self.running[number]
        self.used, self.since = True, time.monotonic()
        return Answered(batch, answers, float(message["cpu"]))

    def last_words(self) -> str:
        """The last line that it wrote before it was ready."""
        self.complaints.seek(0)
        lines = self.complaints.read()[-2000:].decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else ""

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


def _unpacked(answer: JsonObject, memory: mmap.mmap) -> Decoded | Failure:
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

"""A rank that is lost: when processes can no longer speak, the error names the one that ended.

A rank that ends for an error of the user says so, and leaves its message in the store of the process group; the others,
whose connections break then, have nothing of their own to report.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import gettempdir
from typing import NamedTuple

import psutil
import torch
from accelerate import PartialState

from medmvl.atomic_files import atomic_write
from medmvl.errors import ReportedElsewhereError, UserError

NOTICED_S = 3.0
"""Seconds that a dying process gets until it counts as alive: its connections close first."""
_NOTE = "medmvl-ended-"
_TELLING = ("gloo", "nccl", "connection closed", "connection reset", "broken pipe", "timed out")


class Rank(NamedTuple):
    """One process of a run."""

    number: int
    host: str
    pid: int

    def __str__(self) -> str:
        return f"rank {self.number} (process {self.pid} on {self.host})"

    @property
    def has_ended(self) -> bool:
        """Whether this host's process is gone, or left for its parent to collect; False for other hosts."""
        if self.host != socket.gethostname():
            return False
        try:
            return bool(psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True


@contextmanager
def naming_lost_ranks(state: PartialState) -> Iterator[None]:
    """Turn a failed exchange between processes into an error that names the lost rank; one rank reports what ended all.

    Raises:
        ReportedElsewhereError: another rank ended for an error of the user, and reports it.
        UserError: naming a rank of this run that ended without a word.
    """
    if state.num_processes == 1:
        yield
        return
    ranks: list[Rank] = [Rank(0, "", 0)] * state.num_processes
    own = Rank(state.process_index, socket.gethostname(), os.getpid())
    torch.distributed.all_gather_object(ranks, own)
    words = _Words(own, holder=ranks[0])
    try:
        yield
    except (ValueError, OSError) as error:
        if (other := words.first(str(error))) is not None:
            _ended([other.rank], NOTICED_S)  # torchrun ends all when one does: let that one speak first
            raise _error_of(other) from error
        raise
    except RuntimeError as error:
        message = lost_message(ranks, error)
        if message is None:
            raise
        if (other := words.of_another()) is not None:
            raise _error_of(other) from error
        raise UserError(message) from error


class _Said(NamedTuple):
    rank: Rank
    text: str


def _error_of(said: _Said) -> UserError:
    """What another rank said; on another machine it has to be said again."""
    error_class = ReportedElsewhereError if said.rank.host == socket.gethostname() else UserError
    return error_class(f"{said.rank} ended: {said.text}")


class _Words:
    """Why this run ended, as reported by the first rank that knew; kept in the process group's store."""

    _runs = itertools.count()

    def __init__(self, own: Rank, holder: Rank) -> None:
        self.own, self.key = own, f"medmvl/ended/{next(self._runs)}"
        self.store = torch.distributed.distributed_c10d._get_default_store()
        self.holder = None if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else holder
        if own == self.holder:
            _sweep_notes()

    def first(self, text: str) -> _Said | None:
        """Leave why this rank ends; what another one left where it was first."""
        if self._is_gone:
            return self._noted()
        try:
            if self.store.add(f"{self.key}/count", 1) > 1:
                return self.of_another()
            said = json.dumps([*self.own, text])
            if self.own == self.holder:  # the store ends with this process
                with suppress(OSError), atomic_write(_note_of(self.own), mode=0o600, durable=False) as file:
                    file.write(said.encode())
            self.store.set(self.key, said)
        except RuntimeError:  # gone by now
            return self._noted()
        return None

    @property
    def _is_gone(self) -> bool:
        """Whether the store went with the first rank: `torchrun` holds it itself, other launchers leave it to that rank."""
        return self.holder is not None and self.holder.has_ended

    def of_another(self) -> _Said | None:
        """What another rank left."""
        if self._is_gone:
            return self._noted()
        try:
            if not self.store.check([f"{self.key}/count"]):
                return None
            self.store.wait([self.key], timedelta(seconds=NOTICED_S))
            number, host, pid, text = json.loads(self.store.get(self.key))
        except RuntimeError:
            return self._noted()
        return _Said(Rank(number, host, pid), text)

    def _noted(self) -> _Said | None:
        """What the rank that held the store wrote down before it ended, on its own host."""
        if self.holder is None or self.holder == self.own:
            return None
        note = _note_of(self.holder)
        try:
            if note.stat().st_uid != os.geteuid():
                return None
            number, host, pid, text = json.loads(note.read_text())
        except (OSError, ValueError):
            return None
        time.sleep(NOTICED_S / 3)  # the others of this host are reading it, too
        note.unlink(missing_ok=True)
        return _Said(Rank(number, host, pid), text)


def _note_of(rank: Rank) -> Path:
    """File for what a rank has to report when nobody else keeps it: the owner's alone, and of this host and start."""
    return Path(gettempdir()) / f"{_NOTE}{rank.pid}-{os.environ.get('MASTER_PORT', '')}"


def _sweep_notes() -> None:
    """Remove notes that nobody read, as of runs whose processes were all killed."""
    for note in Path(gettempdir()).glob(f"{_NOTE}*"):
        pid = note.name.removeprefix(_NOTE).partition("-")[0]
        if not (pid.isdigit() and psutil.pid_exists(int(pid))):
            with suppress(OSError):
                note.unlink()


def lost_message(ranks: Sequence[Rank], error: RuntimeError) -> str | None:
    """Message about a failure; None where no rank was lost."""
    speaks_of_connections = isinstance(error, torch.distributed.DistError) or any(
        word in str(error).lower() for word in _TELLING
    )
    lost = _ended(ranks, NOTICED_S if speaks_of_connections else 0.0)
    if not lost and not speaks_of_connections:
        return None
    others = sorted({rank.host for rank in ranks} - {socket.gethostname()})
    named = ", ".join(map(str, lost)) or (
        f"a rank on {' or '.join(others)}" if others else "the connection to another rank"
    )
    return (
        f"{named} was lost. Its own message says why; without one it was killed, often for memory (see dmesg). "
        "The same command goes on from the last checkpoint"
    )


def _ended(ranks: Sequence[Rank], seconds: float) -> list[Rank]:
    deadline = time.monotonic() + seconds
    while not (lost := [rank for rank in ranks if rank.has_ended]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return lost

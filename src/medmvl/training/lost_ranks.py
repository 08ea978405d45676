"""A rank that is lost: when processes can no longer speak, the error names the one that ended."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import psutil
import torch
from accelerate import PartialState

from medmvl.errors import UserError

NOTICED_S = 3.0
"""Seconds that a dying process gets until it counts as alive: its connections close first."""
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
    """Turn a failed exchange between processes into an error that names the lost rank.

    Raises:
        UserError: naming it, where a process of this run ended.
    """
    if state.num_processes == 1:
        yield
        return
    ranks: list[Rank] = [Rank(0, "", 0)] * state.num_processes
    own = Rank(state.process_index, socket.gethostname(), os.getpid())
    torch.distributed.all_gather_object(ranks, own)
    try:
        yield
    except RuntimeError as error:
        message = lost_message(ranks, error)
        if message is None:
            raise
        raise UserError(message) from error


def lost_message(ranks: Sequence[Rank], error: RuntimeError) -> str | None:
    """What is to be said of a failure; None where it is not for a lost rank."""
    speaks_of_connections = isinstance(error, torch.distributed.DistError) or any(
        word in str(error).lower() for word in _TELLING
    )
    lost = _ended(ranks, NOTICED_S if speaks_of_connections else 0.0)
    if not lost and not speaks_of_connections:
        return None
    others = sorted({rank.host for rank in ranks} - {socket.gethostname()})
    who = ", ".join(map(str, lost)) or (
        f"a rank on {' or '.join(others)}" if others else "the connection to another rank"
    )
    return (
        f"{who} was lost. Its own message says why; without one it was killed, often for memory (see dmesg). "
        "The same command goes on from the last checkpoint"
    )


def _ended(ranks: Sequence[Rank], seconds: float) -> list[Rank]:
    deadline = time.monotonic() + seconds
    while not (lost := [rank for rank in ranks if rank.has_ended]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return lost

"""One message per host where a launcher such as `torchrun` or `mpirun` started several processes that all meet the same error.

Before the processes of a run have met, nothing but the host is shared: each notes in a file of its own user which message it
has, and only the first one reports it. Later errors are reported once by `medmvl.training.lost_ranks`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import time
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir

_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_NTASKS")
_RANKS = ("RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "SLURM_PROCID")
_LAUNCH = ("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "SLURM_STEP_ID")
_PREFIX = "medmvl-reported-"
_VALID_S = 60.0
"""Seconds after which a note belongs to an earlier run: processes of one run start within it."""


def is_one_of_many() -> bool:
    """Whether a launcher started this process next to others."""
    return _number(_SIZES, 1) > 1


def reports_it(message: str) -> bool:
    """Whether this process is the one of its host and launch that reports a message; True where that cannot be found out.

    A process that met the message before is in a new launch, which reports it again.
    """
    if not is_one_of_many():
        return True
    launch = (
        str(os.getuid()),
        str(os.getppid()),
        socket.gethostname(),
        *(os.environ.get(name, "") for name in _LAUNCH),
    )
    key = hashlib.sha256("\n".join((*launch, message)).encode()).hexdigest()[:32]
    try:
        _sweep()
        note = os.open(Path(gettempdir()) / f"{_PREFIX}{key}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            return _is_first(note, _number(_RANKS, 0))
        finally:
            os.close(note)
    except OSError:
        return True


def _is_first(note: int, rank: int) -> bool:
    fcntl.flock(note, fcntl.LOCK_EX)
    met = {int(word) for word in os.read(note, 2**20).split() if word.isdigit()}
    if rank in met or time.time() - os.fstat(note).st_mtime > _VALID_S:
        met = set()
    os.ftruncate(note, 0)
    os.pwrite(note, " ".join(map(str, sorted(met | {rank}))).encode(), 0)
    return not met


def _sweep() -> None:
    """Remove notes of earlier runs."""
    for note in Path(gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):
            if time.time() - note.stat().st_mtime > 10 * _VALID_S and note.stat().st_uid == os.getuid():
                note.unlink()


def _number(names: tuple[str, ...], otherwise: int) -> int:
    said = next((os.environ[name] for name in names if os.environ.get(name, "").isdigit()), "")
    return int(said) if said else otherwise

"""One writer per output: a lock that goes with its process, and a line that says who holds it.

`flock` (through filelock) ends with the process that holds it, so a kill leaves no lock, and a reused process id means
nothing. Where a file system has no `flock`, filelock keeps a marker with process id, host and start time. Where another
host left its line, its clock decides: a living writer touches the file every few seconds, also on file systems that
keep locks per host.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from medmvl.errors import BusyError

BEAT_S = 5.0
"""Seconds between touches of a held lock."""
SILENT_BEATS = 4
"""Missed beats after which the lock of another host counts as dead."""
ORPHANS_S = 30.0
"""Seconds that the workers of a killed process may take to notice."""


class Holder(NamedTuple):
    """Who wrote the line."""

    pid: int
    host: str

    @property
    def is_here(self) -> bool:
        """Whether it is, or was, a process of this machine."""
        return self.host == socket.gethostname()

    @property
    def is_dead(self) -> bool:
        """Whether it was a process of this machine and is no more."""
        if not self.is_here:
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False


@contextmanager
def one_writer(lock_file: Path, output: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock of an output during the block.

    Args:
        lock_file: in an existing folder; removed at the end.
        output: what is written, for the message.
        wait: wait for another writer instead of refusing.

    Raises:
        BusyError: another process writes `output`; the message names it.
    """
    lock = _acquired(lock_file, output, wait=wait)
    stop = Event()
    try:
        _refuse_other_host(lock_file, output)
        if not isinstance(lock, SoftFileLock):  # which writes such lines itself
            lock_file.write_text(f"{os.getpid()}\n{socket.gethostname()}\n", encoding="utf-8")
        Thread(target=_beat, args=(lock_file, stop), daemon=True, name="output-lock").start()
        try:
            yield
        finally:
            stop.set()
            with suppress(OSError):
                lock_file.unlink(missing_ok=True)
    finally:
        lock.release()


def holder_of(lock_file: Path) -> Holder | None:
    """Who wrote the line in a lock file; None where there is none."""
    with suppress(OSError, ValueError, IndexError):
        lines = lock_file.read_text(encoding="utf-8").splitlines()
        return Holder(int(lines[0]), lines[1])
    return None


def _acquired(lock_file: Path, output: Path, *, wait: bool) -> BaseFileLock:
    lock: BaseFileLock = FileLock(lock_file)
    try:
        lock.acquire(timeout=-1 if wait else 0)
        return lock
    except Timeout:
        holder = holder_of(lock_file)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
            raise
        lock, holder = SoftFileLock(lock_file), holder_of(lock_file)
        with suppress(Timeout):
            lock.acquire(timeout=-1 if wait else 0)
            return lock
    if holder is not None and holder.is_dead:  # its worker processes still hold what they inherited
        with suppress(Timeout):
            lock.acquire(timeout=ORPHANS_S)
            return lock
    raise BusyError(_busy(output, holder, lock_file))


def _refuse_other_host(lock_file: Path, output: Path) -> None:
    """Watch a line of another host: it is a dead one's unless the file is touched."""
    holder = holder_of(lock_file)
    if holder is None or holder.is_here:
        return
    before = lock_file.stat().st_mtime_ns
    for _ in range(SILENT_BEATS):
        time.sleep(BEAT_S)
        if lock_file.stat().st_mtime_ns != before:
            raise BusyError(_busy(output, holder, lock_file))


def _busy(output: Path, holder: Holder | None, lock_file: Path) -> str:
    writer = "another process" if holder is None else f"process {holder.pid} on {holder.host}"
    gone = "" if holder is None or holder.is_here else f" (if that process is gone, remove {lock_file})"
    return f"{output} is being written by {writer}; wait until it is done, or name another output{gone}"


def _beat(lock_file: Path, stop: Event) -> None:
    while not stop.wait(BEAT_S):
        with suppress(OSError):
            os.utime(lock_file)

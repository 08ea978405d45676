"""Writing files so that a crash leaves the old file or the new one, never half of either."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import BinaryIO

PARTIAL = ".partial"
"""Suffix of files that are still being written, named by a dot, the final name, a token and this."""
_TOKEN = 8
"""Characters that `tempfile` draws."""


@contextmanager
def atomic_write(path: Path, mode: int | None = None, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file next to `path`; rename it over `path` when the block ends without an error.

    Args:
        path: the file.
        mode: its permissions; None: those of every new file, by the umask.
        durable: whether to wait until the disk has it; without, a crash of the machine may leave it damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = _claimed_file(path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
            temporary.chmod(0o666 & ~current_umask() if mode is None else mode)
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _claimed_file(path: Path) -> tuple[int, Path]:
    """A temporary file with a lock on it, which ends with this process: `sweep` leaves living writers alone."""
    while True:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=PARTIAL, dir=path.parent)
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return descriptor, Path(name)
        os.close(descriptor)  # swept before it was locked


def sweep(folder: Path, name: str | None = None) -> None:
    """Remove what killed processes left unfinished in `folder`, of all names or of one; files of living ones stay.

    Unfinished folders have no lock of their own: call this with the lock of what they were to become.
    """
    for path in folder.glob(f".{'*' if name is None else escape(name)}.{'?' * _TOKEN}{PARTIAL}"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            _remove_unless_locked(path)


def _remove_unless_locked(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:
        return
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: Path, value: object) -> None:
    """Write a JSON document atomically, indented, Chinese as it is; refuses NaN."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def current_umask() -> int:
    """The mode bits that new files do not get."""
    current = os.umask(0)
    os.umask(current)
    return current

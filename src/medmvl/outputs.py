"""What a command writes: by one writer at a time, whole or to be continued, readable by its owner alone.

A folder that is made in one piece (`whole_folder`) appears under its name when it is complete. One that is continued
(`continued_folder`, `continued_file`) holds finished pieces at any moment. Either way the same command finishes what a
killed one began, after sweeping away what that one left.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from medmvl.atomic_files import PARTIAL, current_umask, sweep, write_json
from medmvl.errors import UserError
from medmvl.json_types import JsonMapping
from medmvl.output_lock import one_writer

logger = logging.getLogger(__name__)
REQUEST = ".request.json"
"""In a whole folder: digests of what was asked for, so that the same command knows that it is done."""
LOCK = ".lock"
CUT_SHORT = ("PytorchStreamWriter failed", "iostream error", "unexpected pos", "requested and")
"""Words in errors of torch and NumPy about a file cut short, which do not say why."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Error numbers that only writing has."""
OWNER_ONLY = 0o077
"""The umask while something about patients is written."""


def whole_folder(
    out: Path,
    request: JsonMapping,
    write: Callable[[Path], object],
    *,
    private: bool,
    wait: bool = False,
) -> bool:
    """Let `write` fill a new folder, which becomes `out` when it is complete.

    Args:
        out: must not exist, be empty, or hold what the same request made.
        request: everything that decides what is written; only digests of it are kept.
        write: fills the folder it is given.
        private: it is about patients: owner only, unless the user made `out` with another mode.
        wait: wait for another writer of `out` instead of refusing.

    Returns:
        False where `out` was complete already and nothing was done.

    Raises:
        BusyError: another process writes `out`.
        UserError: `out` holds something else.
    """
    out = Path(os.path.realpath(out))
    if os.path.ismount(out):
        raise UserError(f"{out} is a mount point, which nothing can be renamed to; name a new folder in it")
    out.parent.mkdir(parents=True, exist_ok=True)
    with disk_errors(out), one_writer(out.with_name(f".{out.name}{LOCK}"), out, wait=wait):
        sweep(out.parent, out.name)
        asked = {key: _digest(value) for key, value in request.items()}
        if is_there(out, asked):
            return False
        _fill(out, asked, write, private=private)
    return True


def is_there(out: Path, asked: Mapping[str, str]) -> bool:
    """Whether `out` holds what the request made. Raises UserError where it holds anything else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        before = json.loads((out / REQUEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{out} exists and is not an empty folder; choose another, or remove it first"
        ) from None
    changed = sorted(key for key in before.keys() | asked.keys() if before.get(key) != asked.get(key))
    if changed:
        raise UserError(
            f"{out} exists and was made with other settings ({', '.join(changed)}); choose another folder, or remove it first"
        )
    return True


def _fill(out: Path, asked: Mapping[str, str], write: Callable[[Path], object], *, private: bool) -> None:
    mode = out.stat().st_mode & 0o777 if out.exists() else 0o700 if private else 0o777 & ~current_umask()
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=PARTIAL, dir=out.parent))
    try:
        with _umask(OWNER_ONLY if private else current_umask()):
            write(partial)
            write_json(partial / REQUEST, dict(asked))
        if private:
            _tell_open(out, mode)
        partial.chmod(mode)
        partial.replace(out)  # also over an empty folder
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


@contextmanager
def continued_folder(
    out: Path, *within: str, first: bool = True, holds: str = "", marks: Sequence[str] = ()
) -> Iterator[None]:
    """Write into `out` as its one writer, readable by its owner alone.

    During the block, the process makes all its new files and folders owner-only.

    Args:
        out: made with mode 0700 where it is not there; a folder that is there keeps its mode, with a warning.
        within: folders in `out` that this command writes into, too.
        first: False in the further processes of a `torchrun`, which share the lock of the first.
        holds: what this command leaves, such as "evaluation", for the message.
        marks: names of which one is in every folder that this command wrote into; a folder with anything else is refused.

    Raises:
        BusyError: another process writes `out`.
        UserError: `out` is a file, or holds what another command or the user put there.
    """
    with disk_errors(out), _umask(OWNER_ONLY):
        if not first:
            yield
            return
        _refuse_foreign(out, holds, marks)
        is_new = not out.exists()
        out.mkdir(parents=True, exist_ok=True)
        if not is_new:
            _tell_open(out, out.stat().st_mode & 0o777)
        with one_writer(out / LOCK, out):
            for folder in (out, *(out / name for name in within)):
                sweep(folder)
            yield


@contextmanager
def continued_file(out: Path, *ends: str, first: bool = True) -> Iterator[None]:
    """Write the file `out`, and files next to it whose names end in `ends`, as the one writer, for the owner alone."""
    with disk_errors(out), _umask(OWNER_ONLY):
        if not first:
            yield
            return
        if out.is_dir():
            raise UserError(f"{out} is a folder; name a file")
        out.parent.mkdir(parents=True, exist_ok=True)
        with one_writer(out.with_name(f".{out.name}{LOCK}"), out):
            for end in ("", *ends):
                sweep(out.parent, out.name + end)
            yield


def _refuse_foreign(out: Path, holds: str, marks: Sequence[str]) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a new folder")
    if marks and out.exists() and not is_free(out) and not any((out / name).exists() for name in marks):
        raise UserError(f"{out} is not empty and holds no {holds}; give a new folder")


def is_free(out: Path) -> bool:
    """Whether a folder holds nothing but the lock of who asks, and what killed processes left."""
    return all(path.name == LOCK or path.name.endswith(PARTIAL) for path in out.iterdir())


def _tell_open(out: Path, mode: int) -> None:
    if mode & OWNER_ONLY:
        logger.warning(
            "%s is open to other users (mode %o), and stays so: files written into it are yours alone, their names are not",
            out,
            mode,
        )


@contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def disk_errors(out: Path) -> Iterator[None]:
    """Make OSErrors of what libraries raise where a disk is full: safetensors, torch and NumPy have errors of their own."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError):
            raise
        if isinstance(error, OSError) and error.errno is not None:
            if (name := _name_of(error, out)) == error.filename:
                raise
            raise OSError(error.errno, error.strerror, name) from error
        number = _error_number(str(error), out)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(out)) from error


def _name_of(error: OSError, out: Path) -> object:
    """What could not be read or written: a failed copy names what it reads, and second what it writes."""
    if error.errno in NO_ROOM and error.filename2 is not None:
        written = os.fsdecode(error.filename2)
        return str(out) if out.parent in Path(written).parents else written
    return str(out) if error.filename is None else error.filename


def _error_number(text: str, out: Path) -> int | None:
    if found := re.search(r"\(os error (\d+)\)", text):
        return int(found[1])
    named = next((number for number in NO_ROOM if os.strerror(number) in text), None)
    if named is not None:
        return named
    if any(words in text for words in CUT_SHORT):
        return errno.EIO if shutil.disk_usage(out.parent).free > 1 << 24 else errno.ENOSPC
    return None

"""A folder's files with their SHA-256, as `sha256sum -c SHA256SUMS` reads them: the mark of a whole folder."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SUMS = "SHA256SUMS"
FREE = (".md",)
"""Suffixes of files that people complete, such as a model's card; they are not in the list."""
THREADS = 4
"""Files hashed at a time: hashing leaves Python to other threads."""


def write_sums(folder: Path) -> None:
    """Hash every file below `folder`, bring all of them to the disk, and write the list last."""
    names = sorted(_names(folder))
    with ThreadPoolExecutor(THREADS) as pool:
        digests = pool.map(file_sha256, [folder / name for name in names])
        lines = "".join(f"{digest}  {name}\n" for name, digest in zip(names, digests, strict=True))
    _sync_all(folder)
    partial = folder / f".{SUMS}"
    partial.write_text(lines, encoding="utf-8")
    sync(partial)
    partial.replace(folder / SUMS)
    sync(folder)


def listed(folder: Path) -> dict[str, str] | None:
    """Name of each listed file to its digest; None where there is no readable list."""
    try:
        text = (folder / SUMS).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    found = {}
    for line in text.splitlines():
        digest, mark, name = line.partition("  ")
        if not mark or len(digest) != 64:
            return None
        found[name] = digest
    return found


def first_damage(folder: Path) -> str | None:
    """What is wrong with the first listed file that is not as it was written, by name; None where all are."""
    wanted = listed(folder)
    if wanted is None:
        return f"{folder / SUMS} is missing or damaged"
    for name in wanted:
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
    with ThreadPoolExecutor(THREADS) as pool:
        for name, problem in zip(
            wanted, pool.map(_damage, [folder / n for n in wanted], wanted.values()), strict=True
        ):
            if problem is not None:
                return f"{folder / name} {problem}"
    return None


def _damage(path: Path, wanted: str) -> str | None:
    try:
        found = file_sha256(path)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return None if found == wanted else "is not as it was written (its SHA-256 differs)"


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_state(path: Path) -> tuple[int, int, int]:
    """Size of a file, time of its content and time of its record, which another file of that name does not share.

    Raises:
        OSError: the file is not there.
    """
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def num_bytes(folder: Path) -> int:
    """Size of all listed files that are there."""
    return sum((folder / name).stat().st_size for name in listed(folder) or {} if (folder / name).is_file())


def _names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_file() and path.suffix not in FREE and path.name != SUMS:
            yield path.relative_to(folder).as_posix()


def _sync_all(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        sync(path)


def sync(path: Path) -> None:
    """Bring a file, or the list of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def state_of(path: Path) -> str:
    """A digest that changes when a folder or file does: of its list, else of names, sizes and times."""
    if path.is_dir() and (text := (path / SUMS)).is_file():
        return file_sha256(text)
    files = [path] if path.is_file() else sorted(inside for inside in path.rglob("*") if inside.is_file())
    stats = [(str(f.relative_to(path)), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()

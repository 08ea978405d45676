"""Scans in shards: a block's path may name a member of a tar file, as `train-00003.tar!/000012.0.nii.gz`.

Next to each shard lies its index, `train-00003.json`: the size of the shard, and offset, size and checksum of each member. One
seek finds a scan, so a sample may be read without those before it, and training resumes anywhere. A shard that is cut off or
damaged is named.
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from medmvl.digests import file_state
from medmvl.errors import ReadError

IN_SHARD = ".tar!/"
"""Separator between the name of a shard and that of its member."""


class Member(NamedTuple):
    """One file within a shard."""

    offset: int
    size: int
    crc32: int


def in_shard(reference: str) -> bool:
    """Whether a path names a member of a shard."""
    return IN_SHARD in reference


def shard_of(reference: str) -> tuple[Path, str]:
    """The shard that a path names, and its member."""
    shard, _, member = reference.partition(IN_SHARD)
    return Path(f"{shard}.tar"), member


def member_state(reference: str) -> tuple[str, int, int, int]:
    """The path, and size and times of the shard: changes when the member may have changed.

    Raises:
        OSError: the shard is not there.
    """
    return reference, *file_state(shard_of(reference)[0])


def has_member(reference: str) -> bool:
    """Whether the shard and its member are there."""
    shard, member = shard_of(reference)
    try:
        return member in _index(shard, *_state(shard))
    except (OSError, ReadError):
        return False


@contextmanager
def member_file(reference: str) -> Iterator[Path]:
    """A private copy of one member, under its own name, which is removed afterwards.

    Raises:
        ReadError: the shard is missing, cut off or damaged; the message names it.
    """
    shard, name = shard_of(reference)
    try:
        members = _index(shard, *_state(shard))
        if name not in members:
            raise ReadError(f"the shard {shard} holds no {name}: it is of another version than the samples")
        body = _read(shard, members[name])
    except OSError as error:
        raise ReadError(f"the shard {shard} cannot be read: {error.strerror or error}") from error
    with tempfile.TemporaryDirectory(prefix="medmvl-shard-") as folder:  # mode 0700
        copy = Path(folder) / name
        copy.write_bytes(body)
        try:
            yield copy
        except ReadError as error:
            raise error.reworded(lambda said: said.replace(str(copy), reference)) from error


def _read(shard: Path, member: Member) -> bytes:
    with shard.open("rb") as file:
        file.seek(member.offset)
        body = file.read(member.size)
    if len(body) != member.size or zlib.crc32(body) != member.crc32:
        raise ReadError(f"the shard {shard} is damaged: a member does not have its checksum; write it again")
    return body


def _state(shard: Path) -> tuple[int, ...]:
    return shard.stat().st_size, *file_state(index_of(shard))


def index_of(shard: Path) -> Path:
    """The index of a shard."""
    return shard.with_suffix(".json")


@lru_cache(maxsize=64)
def _index(shard: Path, size: int, *_state: int) -> dict[str, Member]:
    """The members of a shard, by name; `_state` makes a changed index another one."""
    try:
        stored = json.loads(index_of(shard).read_text(encoding="utf-8"))
        members = {name: Member(*place) for name, place in stored["members"].items()}
        expected = int(stored["bytes"])
    except (ValueError, KeyError, TypeError) as error:
        raise ReadError(f"the index {index_of(shard)} is damaged: write the shards again") from error
    if size != expected:
        raise ReadError(
            f"the shard {shard} is cut off or not its index's: it holds {size} bytes, expected {expected}. Copy it again"
        )
    return members


def shard_numbers(references: Iterable[str]) -> list[int]:
    """A number for each path: equal for members of one shard, -1 for other files."""
    known: dict[str, int] = {}
    numbers = []
    for reference in references:
        shard = os.fspath(shard_of(reference)[0]) if in_shard(reference) else None
        numbers.append(-1 if shard is None else known.setdefault(shard, len(known)))
    return numbers

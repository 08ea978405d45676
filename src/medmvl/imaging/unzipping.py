"""Unpack a zip archive within limits.

Counts and sizes are checked before anything is unpacked, and again while it is. Links and encryption are refused.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medmvl.errors import ReadError

_CHUNK = 2**20
_END_BYTES = 22 + 2**16
"""Bytes of an end record and the longest comment after it."""
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError, ValueError, LookupError,
)  # fmt: skip
"""What zipfile raises about a damaged archive; an IndexError where a name is empty."""
_ELSEWHERE = 0xFFFF
"""The count is in the record of ZIP64 instead."""


@dataclass(frozen=True)
class ArchiveLimits:
    """The most that is unpacked."""

    files: int
    num_bytes: int
    """Bytes of all files together, unpacked."""
    ratio: int = 1100
    """Growth of one file. Deflate cannot pack better than 1032:1; an archive that claims more is forged."""


def unzip(
    archive: Path,
    folder: Path,
    limits: ArchiveLimits,
    name_of: Callable[[int, str], PurePosixPath | None],
) -> None:
    """Unpack an archive into a folder.

    Args:
        archive: the zip file.
        folder: exists and is empty.
        limits: the most that is unpacked, whatever the archive's own headers claim.
        name_of: number and name of a file in the archive to the path below `folder` that it is written to; None leaves it out.

    Raises:
        ReadError: the archive is damaged, encrypted, empty or too large, or holds links or two files of one name.
    """
    _check_count(archive, limits.files)
    try:
        with zipfile.ZipFile(archive) as opened:
            _unzip(opened, folder, limits, name_of)
    except ReadError:
        raise
    except _DAMAGE as error:
        raise ReadError("the zip archive is damaged, or packed in a way that is not read") from error


def _unzip(
    opened: zipfile.ZipFile,
    folder: Path,
    limits: ArchiveLimits,
    name_of: Callable[[int, str], PurePosixPath | None],
) -> None:
    files = [member for member in opened.infolist() if not member.is_dir()]
    named = [(member, name) for n, member in enumerate(files) if (name := name_of(n, member.filename))]
    _check([member for member, _ in named], limits)
    left = limits.num_bytes
    for member, name in named:
        target = folder / name
        if target.exists():
            raise ReadError(f"the archive holds two files of the name {member.filename!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        left -= _copy(opened, member, target, left)


def _check_count(archive: Path, most: int) -> None:
    """Refuse by the number in the archive's end record (APPNOTE 4.3.16), before its whole directory is parsed.

    Folders count, too, so twice as many may be there; an end record that lies is found when the members are counted.
    """
    with archive.open("rb") as file:
        file.seek(max(0, archive.stat().st_size - _END_BYTES))
        tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or at + 12 > len(tail):
        return
    count = int.from_bytes(tail[at + 10 : at + 12], "little")
    if 2 * most < count < _ELSEWHERE:
        raise ReadError(
            f"the archive holds {count} entries; at most {most} files are unpacked: unpack it yourself"
        )


def _check(members: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    if not members:
        raise ReadError("the archive is empty")
    if len(members) > limits.files:
        raise ReadError(
            f"the archive holds {len(members)} files; at most {limits.files} are unpacked: unpack it yourself"
        )
    total = sum(member.file_size for member in members)
    if total > limits.num_bytes:
        raise ReadError(
            f"the archive unpacks to {total} bytes; the limit is {limits.num_bytes}: unpack it yourself"
        )
    for member in members:
        if member.flag_bits & 1:
            raise ReadError("the archive is encrypted: unpack it with its password first")
        if (member.external_attr >> 16) & 0o170000 not in (0, 0o100000):
            raise ReadError("the archive holds links or special files; expected plain files")
        if member.file_size > limits.ratio * max(member.compress_size, 1024):
            raise ReadError(
                "a file of the archive claims to grow beyond what a scan does when it is unpacked"
            )


def _copy(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Write one member; the bytes that come out are counted, not those its header claims."""
    written = 0
    with opened.open(member) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > left:
                raise ReadError("the archive unpacks to more than its headers claim")
            file.write(chunk)
    return written

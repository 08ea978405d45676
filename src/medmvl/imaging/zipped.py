"""A `.zip` as a path: the series, or the one scan, that it holds, unpacked within limits into a private folder that is removed.

Counts and sizes are checked before anything is unpacked, and again while it is; names that leave the folder, links and
encryption are refused, an archive within an archive is not opened.
"""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from medmvl.errors import ReadError
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.limits import claims_are_limited

MAX_FILES = 20_000
MAX_BYTES = 2**33
"""Bytes of everything in the archive together, unpacked."""
_MAX_RATIO = 1100
"""Deflate cannot pack better than 1032:1; one that claims more is forged."""
_CHUNK = 2**20
_NO_SCANS = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


def sniff(head: bytes, path: Path) -> bool:
    """Tell whether these are the first bytes of a zip archive."""
    return head.startswith((b"PK\x03\x04", b"PK\x05\x06"))


def read_zip(path: Path, read_unpacked: Callable[[Path], MedicalImage]) -> MedicalImage:
    """Unpack an archive and read what it holds.

    Args:
        path: the archive.
        read_unpacked: reads the folder, or the only file, that came out.

    Raises:
        ReadError: the archive is damaged, encrypted, too large, holds links or unsafe names; or what it holds cannot be
            read, the message naming files as the archive does.
    """
    if claims_are_limited():
        raise ReadError("this is an archive within an archive: send the scan itself")
    with tempfile.TemporaryDirectory(prefix="medmvl-zip-") as name:  # mode 0700
        folder = Path(name)
        try:
            with zipfile.ZipFile(path) as archive:
                _unpack(archive, folder)
        except (
            zipfile.BadZipFile,
            zlib.error,
            NotImplementedError,
            RuntimeError,
            EOFError,
            ValueError,
        ) as error:
            if isinstance(error, ReadError):
                raise
            raise ReadError("the zip archive is damaged, or packed in a way that is not read") from error
        try:
            return read_unpacked(_scan_in(folder))
        except ReadError as error:
            raise type(error)(
                str(error).replace(f"{folder}/", "").replace(str(folder), "the archive")
            ) from error


def _unpack(archive: zipfile.ZipFile, folder: Path) -> None:
    members = [
        member for member in archive.infolist() if not member.is_dir() and not _no_scan(member.filename)
    ]
    _check(members)
    left = MAX_BYTES
    for member in members:
        target = folder / _safe_name(member.filename)
        if target.exists():
            raise ReadError(f"the archive holds two files of the name {member.filename!r}")
        target.parent.mkdir(parents=True, exist_ok=True)
        left -= _copy(archive, member, target, left)


def _no_scan(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return not parts or parts[0] == "__MACOSX" or parts[-1] in _NO_SCANS or parts[-1].startswith("._")


def _check(members: list[zipfile.ZipInfo]) -> None:
    if not members:
        raise ReadError("the archive is empty")
    if len(members) > MAX_FILES:
        raise ReadError(
            f"the archive holds {len(members)} files; at most {MAX_FILES} are unpacked: unpack it yourself"
        )
    total = sum(member.file_size for member in members)
    if total > MAX_BYTES:
        raise ReadError(f"the archive unpacks to {total} bytes; the limit is {MAX_BYTES}: unpack it yourself")
    for member in members:
        if member.flag_bits & 1:
            raise ReadError("the archive is encrypted: unpack it with its password first")
        if (member.external_attr >> 16) & 0o170000 not in (0, 0o100000):
            raise ReadError("the archive holds links or special files; expected plain files")
        if member.file_size > _MAX_RATIO * max(member.compress_size, 1024):
            raise ReadError("a file of the archive claims to grow beyond what its packing can do")


def _safe_name(name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    unsafe = path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name or len(path.parts) > 32
    if unsafe or any(len(part.encode("utf-8", "replace")) > 240 for part in path.parts):
        raise ReadError("the archive holds a name that leaves its folder or cannot be written: refused")
    return path


def _copy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Write one member; the bytes that come out are counted, not those its header claims."""
    written = 0
    with archive.open(member) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > left:
                raise ReadError("the archive unpacks to more than its headers claim")
            file.write(chunk)
    return written


def _scan_in(folder: Path) -> Path:
    """The only file, or a folder with a DICOM series, or the only scan among several files.

    Raises:
        ReadError: several scans, or none.
    """
    from medmvl.imaging.partners import header_of
    from medmvl.imaging.read import is_dicom, recognised

    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if len(files) == 1:
        return files[0]
    if any(is_dicom(path) for path in files):
        return folder
    scans = sorted({header_of(path) for path in files if recognised(header_of(path))})
    if len(scans) == 1:
        return scans[0]
    if not scans:
        raise ReadError(
            f"the archive holds {len(files)} files, none of which is an image in a format that can be read"
        )
    names = ", ".join(str(scan.relative_to(folder)) for scan in scans[:8])
    raise ReadError(f"the archive holds {len(scans)} scans ({names}): unpack it and name one")

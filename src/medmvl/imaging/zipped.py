"""A `.zip` as a path: the series, or the one scan, that it holds, unpacked within limits into a private folder that is removed.

Names that leave the folder are refused, and an archive within an archive is not opened.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from medmvl.errors import ReadError
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.limits import claims_are_limited
from medmvl.imaging.unzipping import ArchiveLimits, unzip
from medmvl.messages import first_of

LIMITS = ArchiveLimits(files=20_000, num_bytes=2**33)
_NO_SCANS = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


def sniff(head: bytes, path: Path) -> bool:
    """Return whether these are the first bytes of a zip archive."""
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
    if _is_empty(path):
        raise ReadError("this archive is empty")
    if claims_are_limited():
        raise ReadError("this is an archive within an archive: send the scan itself")
    with tempfile.TemporaryDirectory(prefix="medmvl-zip-") as name:  # mode 0700
        folder = Path(name)
        unzip(path, folder, LIMITS, _safe_name)
        try:
            scan = scan_in(folder)
            image = read_unpacked(scan)
            return replace(image, warnings=(*image.warnings, *left_out(folder))) if scan == folder else image
        except ReadError as error:
            raise error.reworded(
                lambda said: said.replace(f"{folder}/", "").replace(str(folder), "the archive")
            ) from error


def _is_empty(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PK\x05\x06"


def is_no_scan(name: str) -> bool:
    """Return whether a file of an archive is one that a system put there by itself."""
    parts = PurePosixPath(name).parts
    return not parts or parts[0] == "__MACOSX" or parts[-1] in _NO_SCANS or parts[-1].startswith("._")


def _safe_name(number: int, name: str) -> PurePosixPath | None:
    if is_no_scan(name):
        return None
    path = PurePosixPath(name.replace("\\", "/"))
    unsafe = path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name or len(path.parts) > 32
    if unsafe or any(len(part.encode("utf-8", "replace")) > 240 for part in path.parts):
        raise ReadError("the archive holds a name that leaves its folder or cannot be written: refused")
    return path


def left_out(folder: Path) -> tuple[str, ...]:
    """Warn of images of other formats next to a DICOM series, which nobody sees in an archive."""
    from medmvl.imaging.read import other_images

    found = [str(path.relative_to(folder)) for path, _ in other_images(folder)]
    if not found:
        return ()
    names = first_of(found, 5, separator=", ")
    return (
        f"the archive also holds images of other formats ({names}), which were not read: unpack it and use one",
    )


def scan_in(folder: Path) -> Path:
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
    raise ReadError(f"the archive holds {len(scans)} scans ({names}): unpack it and use one of them")

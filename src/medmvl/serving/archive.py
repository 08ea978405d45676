"""Archives that clients send: unpacked into numbered files, within limits, so that no name of theirs reaches the disk."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from medmvl.errors import ReadError
from medmvl.imaging.unzipping import ArchiveLimits, unzip
from medmvl.imaging.zipped import is_no_scan
from medmvl.serving.settings import Limits

MAX_RATIO = 200
"""Largest expansion of a compressed file; scans stay below it."""
PAIRED = (".hdr.gz", ".img.gz", ".hdr", ".img", ".mhd", ".nhdr", ".raw.gz", ".raw", ".zraw")
"""Suffixes of two-file formats; files that differ in nothing else get one number."""
ENDINGS = (
    *PAIRED, ".nii.gz", ".nii", ".nrrd", ".mha", ".mgz", ".mgh", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".npy", ".npz",
)  # fmt: skip
"""Suffixes that a reader may need."""


class Unpacked(NamedTuple):
    """What came out of an archive."""

    folder: Path
    names: dict[Path, PurePosixPath]
    """Names within the archive, by files; no message has them."""


def unpack(archive: Path, folder: Path, limits: Limits) -> Unpacked:
    """Unpack a zip of one study into `folder`.

    Raises:
        ReadError: it is no zip, encrypted, holds links, is larger than allowed, or has two files of one name.
    """
    folder.mkdir()
    names: dict[Path, PurePosixPath] = {}
    numbers: dict[str, int] = {}
    seen: set[str] = set()

    def numbered(number: int, name: str) -> PurePosixPath | None:
        if is_no_scan(name):
            return None
        ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
        if name in seen:
            raise ReadError(
                "the archive holds two files of one name, and a header may mean the pixels of either: send them apart"
            )
        seen.add(name)
        if ending in PAIRED:
            shared = numbers.setdefault(name[: -len(ending)], number)
            number = number if folder / _called(shared, ending) in names else shared
        file = _called(number, ending)
        names[folder / file] = PurePosixPath(name)
        return file

    unzip(archive, folder, ArchiveLimits(limits.archive_files, limits.expanded_bytes, MAX_RATIO), numbered)
    return Unpacked(folder, names)


def _called(number: int, ending: str) -> PurePosixPath:
    return PurePosixPath(f"{number + 1:05d}{ending}")

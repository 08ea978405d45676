"""Archives that clients send: unpacked into numbered files, within limits, so that no name of theirs reaches the disk."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from medmvl.imaging.unzipping import ArchiveLimits, unzip
from medmvl.serving.settings import Limits

MAX_RATIO = 200
"""Largest expansion of a compressed file; scans stay below it."""
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".npy", ".npz")
"""Suffixes that a reader may need."""


def unpack(archive: Path, folder: Path, limits: Limits) -> Path:
    """Unpack a zip of one study into `folder`.

    Raises:
        ReadError: it is no zip, encrypted, holds links, or is larger than allowed.
    """
    folder.mkdir()
    unzip(archive, folder, ArchiveLimits(limits.archive_files, limits.expanded_bytes, MAX_RATIO), _numbered)
    return folder


def _numbered(number: int, name: str) -> PurePosixPath:
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
    return PurePosixPath(f"{number:05d}{ending}")

"""Archives that clients send: unpacked into numbered files, within limits, so that no name of theirs reaches the disk."""

from __future__ import annotations

import zipfile
from pathlib import Path

from medmvl.errors import UserError
from medmvl.serving.settings import Limits

CHUNK = 1 << 20
MAX_RATIO = 200
"""A member that grows by more than this is no scan."""


def unpack(archive: Path, folder: Path, limits: Limits) -> Path:
    """Unpack a zip of one study into `folder`.

    Raises:
        UserError: it is no zip, encrypted, holds links, or is larger than allowed; nothing is read by then that
            exceeds the limits, whatever its own headers claim.
    """
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as opened:
            members = [member for member in opened.infolist() if not member.is_dir()]
            _check(members, limits)
            left = limits.expanded_bytes
            for number, member in enumerate(members):
                left -= _copy(opened, member, folder / f"{number:05d}{_ending(member.filename)}", left)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise UserError(f"the upload is no readable zip ({error})") from None
    return folder


def _check(members: list[zipfile.ZipInfo], limits: Limits) -> None:
    if not members:
        raise UserError("the uploaded zip is empty")
    if len(members) > limits.archive_files:
        raise UserError(
            f"the uploaded zip holds {len(members)} files; at most {limits.archive_files} are taken"
        )
    for member in members:
        if member.flag_bits & 1:
            raise UserError("the uploaded zip is encrypted; send it without a password")
        if (member.external_attr >> 16) & 0o170000 == 0o120000:
            raise UserError("the uploaded zip holds a link; send plain files")
        if member.file_size > MAX_RATIO * max(member.compress_size, 1024):
            raise UserError("a file of the uploaded zip grows without measure when unpacked")
    if sum(member.file_size for member in members) > limits.expanded_bytes:
        raise UserError(f"the uploaded zip unpacks to more than {limits.expanded_bytes} bytes")


def _copy(opened: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, left: int) -> int:
    """Write one member; the bytes that come out are counted, not those its header claims."""
    written = 0
    with opened.open(member) as source, target.open("xb") as file:
        while chunk := source.read(CHUNK):
            written += len(chunk)
            if written > left:
                raise UserError("the uploaded zip unpacks to more than its headers claim")
            file.write(chunk)
    return written


def _ending(name: str) -> str:
    """The ending of a name where a reader may need it (`.nii.gz`, `.mhd`, `.raw`), else nothing."""
    lower = name.lower()
    known = (".nii.gz", ".nii", ".nrrd", ".mha", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".npy", ".npz")
    return next((ending for ending in known if lower.endswith(ending)), "")

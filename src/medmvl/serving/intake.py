"""What a client sent, read: one image of a file or an archive, or everything that can be read in one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medmvl.errors import UserError
from medmvl.imaging import MedicalImage, read
from medmvl.imaging.dicom import series_in
from medmvl.imaging.limits import at_most
from medmvl.serving.archive import unpack
from medmvl.serving.settings import Limits

MAX_STUDIES = 32
"""Studies per upload; those after them are named as left out."""


@dataclass
class Intake:
    """What an upload held."""

    images: list[MedicalImage] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    """Files that could not be read, in words that name no path of this machine."""


def read_received(received: Path, selector: str, limits: Limits) -> MedicalImage:
    """Read a file or an archive that a client sent; messages call it `the upload`, whatever it is called here."""
    try:
        target = _opened(received, limits)
        return _read(f"{target}#{selector}" if selector else target, limits)
    except (ValueError, OSError) as error:
        raise UserError(_without_paths(str(error), received.parent)) from None


def read_all(received: Path, limits: Limits) -> Intake:
    """Read every series and file of what a client sent; what is broken is named and does not keep the rest.

    Raises:
        UserError: the archive itself cannot be opened.
    """
    found = Intake()
    try:
        sources = list(_sources(_opened(received, limits), found))
    except (ValueError, OSError) as error:
        raise UserError(_without_paths(str(error), received.parent)) from None
    if len(sources) > MAX_STUDIES:
        found.bad.append(f"{len(sources) - MAX_STUDIES} more studies were left out; send them by themselves")
    for source in sources[:MAX_STUDIES]:
        try:
            found.images.append(_read(source, limits))
        except (ValueError, OSError) as error:
            found.bad.append(_without_paths(str(error), received.parent))
    return found


def _opened(received: Path, limits: Limits) -> Path:
    """The file itself; or an archive's folder, or its only member."""
    with received.open("rb") as file:
        if file.read(4) != b"PK\x03\x04":
            return received
    folder = unpack(received, received.parent / "unpacked", limits)
    members = list(folder.iterdir())
    return members[0] if len(members) == 1 else folder


def _read(source: str | Path, limits: Limits) -> MedicalImage:
    with at_most(limits.voxels):
        image = read(source)
    if image.array.size > limits.voxels:
        raise UserError(f"the upload holds {image.array.size} voxels; at most {limits.voxels} are taken")
    return image


def _sources(target: Path, found: Intake) -> Iterator[str]:
    """What `read` takes: every series of the DICOM files, then every other file that is no part of one."""
    series, damaged = series_in(target)
    for file, error in damaged:
        found.bad.append(f"{_without_paths(error, target)} (left out)")
        if target.is_dir():
            file.unlink()  # while it lies there, no series of its folder can be read by number
    if series:
        if target.is_dir() and len(series) == 1:
            yield str(target)
            return
        yield from (f"{target}#series={number}" for number in range(1, len(series) + 1))
    elif target.is_file():
        yield str(target)
    else:
        yield from (str(file) for file in sorted(target.rglob("*")) if file.is_file())


def _without_paths(message: str, folder: Path) -> str:
    words = message.replace(str(folder / "unpacked"), "the upload")
    for path in sorted(folder.iterdir() if folder.is_dir() else (), key=lambda path: -len(path.name)):
        words = words.replace(str(path), "the upload")
    return words.replace(str(folder), "the upload")

"""What a client sent, read: one image of a file or an archive, or everything that can be read in one.

Runs in a reader process (reader_processes.py), so that what a file does to its reader reaches no one else; imports neither
torch nor transformers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from medmvl.errors import AmbiguousSourceError, UserError
from medmvl.imaging import MedicalImage, read
from medmvl.imaging.declared_metadata import Declared, apply_declared
from medmvl.imaging.dicom import series_in
from medmvl.imaging.limits import at_most
from medmvl.serving.archive import unpack
from medmvl.serving.settings import Limits
from medmvl.serving.stored_image import StoredImage, store_image

MAX_STUDIES = 32
"""Studies per upload; those after them are named as left out."""


@dataclass
class Intake:
    """What an upload held."""

    images: list[StoredImage] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    """Files that could not be read, in words that name no path of this machine."""


def read_one(received: Path, selector: str, limits: Limits, declared: Declared | None = None) -> StoredImage:
    """Read a file or an archive that a client sent, and store pixels and geometry next to it.

    Args:
        received: a file alone in its folder.
        selector: such as `series=2`, where it holds several.
        limits: the most that is read.
        declared: units and modality, where the file does not say them.

    Raises:
        UserError: it cannot be read, or contradicts what was declared; it is `the upload` in messages, whatever it is called.
    """
    try:
        target = _opened(received, limits)
        image = _read(f"{target}#{selector}" if selector else target, limits)
        image = image if declared is None else apply_declared(image, declared)
    except AmbiguousSourceError as error:
        raise UserError(_without_paths(_as_selected(str(error)), received.parent)) from None
    except (ValueError, OSError) as error:
        raise UserError(_without_paths(str(error), received.parent)) from None
    return store_image(image, received.parent / "stored-0")


def _as_selected(message: str) -> str:
    """How to choose one image of several as a client does it: an upload has no path that it could add to."""
    return re.sub(r"by adding #(\w+)=N to the path \(.*?#(\w+=\d)\)", r'with "select": "\2"', message)


def read_all(received: Path, limits: Limits) -> Intake:
    """As `read_one`, every series and file of what a client sent; what is broken is named and does not keep the rest.

    Raises:
        UserError: the archive itself cannot be opened, or nothing could be read.
    """
    found = Intake()
    try:
        sources = list(_sources(_opened(received, limits), found))
    except (ValueError, OSError) as error:
        raise UserError(_without_paths(str(error), received.parent)) from None
    if len(sources) > MAX_STUDIES:
        found.bad.append(f"{len(sources) - MAX_STUDIES} more studies were left out; send them by themselves")
    for number, source in enumerate(sources[:MAX_STUDIES]):
        try:
            image = _read(source, limits)
        except (ValueError, OSError) as error:
            found.bad.append(_without_paths(str(error), received.parent))
        else:
            found.images.append(store_image(image, received.parent / f"stored-{number}"))
    if not found.images:
        raise UserError("; ".join(found.bad[:3]) or "the upload holds no image or volume")
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

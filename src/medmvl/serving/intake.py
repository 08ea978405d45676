"""What a client sent, read: one image of a file or an archive, or everything that can be read in one.

Runs in a reader process (reader_processes.py), so that what a file does to its reader reaches no one else; imports neither
torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from medmvl.errors import AmbiguousSourceError, Choice, UserError
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


class _Source(NamedTuple):
    """What is read of an upload."""

    path: str
    """Path, with a selector, for `read`."""
    name: str = "the upload"
    """Its name in messages."""


def as_form_field(choice: Choice) -> str:
    """How a client that uploads chooses one image of several."""
    return f'choose one with the form field "select": "{choice.selector}"'


def in_its_object(choice: Choice) -> str:
    """How a client chooses that sends a volume or a file inside a request."""
    return f'choose one with "select": "{choice.selector}" next to its data'


def as_a_file(choice: Choice) -> str:
    """How a client chooses that sent an `image_url`, which has no place for it."""
    part = f'{{"type": "file", "file": {{"data": "data:...", "select": "{choice.selector}"}}}}'
    return f"choose one by sending it as {part}"


def by_itself(choice: Choice) -> str:
    """How a visitor of the page chooses, which takes everything that can be read."""
    return f"the page cannot choose a {choice.key}: save the one that is meant as a file of its own"


def read_one(
    received: Path,
    selector: str,
    limits: Limits,
    declared: Declared | None = None,
    advice: Callable[[Choice], str] = as_form_field,
) -> StoredImage:
    """Read a file or an archive that a client sent, and store pixels and geometry next to it.

    Args:
        received: a file alone in its folder.
        selector: such as `series=2`, where it holds several.
        limits: the most that is read.
        declared: units and modality, where the file does not say them.
        advice: words how the client chooses, where what it sent holds several.

    Raises:
        UserError: it cannot be read, or contradicts what was declared; it is `the upload` in messages, whatever it is called.
    """
    source = _Source(str(received))
    try:
        source = _Source(f"{_opened(received, limits)}#{selector}".removesuffix("#"))
        image = _read(source, limits)
        image = image if declared is None else apply_declared(image, declared)
    except (ValueError, OSError) as error:
        raise UserError(_words(error, received.parent, source, advice)) from None
    return store_image(image, received.parent / "stored-0")


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
            found.bad.append(_words(error, received.parent, source, by_itself))
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


def _read(source: _Source, limits: Limits) -> MedicalImage:
    with at_most(limits.voxels):
        image = read(source.path)
    if image.array.size > limits.voxels:
        raise UserError(f"the upload holds {image.array.size} voxels; at most {limits.voxels} are taken")
    return image


def _sources(target: Path, found: Intake) -> Iterator[_Source]:
    """What `read` takes: every series of the DICOM files, then every other file that is no part of one."""
    series, damaged = series_in(target)
    for file, error in damaged:
        found.bad.append(f"{_without_paths(error, target)} (left out)")
        if target.is_dir():
            file.unlink()  # while it lies there, no series of its folder can be read by number
    if series:
        if len(series) == 1:
            yield _Source(str(target))
            return
        for number in range(1, len(series) + 1):
            yield _Source(f"{target}#series={number}", f"series {number} of the upload")
    elif target.is_file():
        yield _Source(str(target))
    else:
        files = [file for file in sorted(target.rglob("*")) if file.is_file()]
        yield from (
            _Source(str(file), f"file {number} of the upload") for number, file in enumerate(files, 1)
        )


def _words(error: Exception, folder: Path, source: _Source, advice: Callable[[Choice], str]) -> str:
    """Words for a client, which has neither paths of this machine nor a path to add to."""
    said = error.worded(advice) if isinstance(error, AmbiguousSourceError) else str(error)
    return _without_paths(said.replace(source.path, source.name), folder)


def _without_paths(message: str, folder: Path) -> str:
    words = message.replace(str(folder / "unpacked"), "the upload")
    for path in sorted(folder.iterdir() if folder.is_dir() else (), key=lambda path: -len(path.name)):
        words = words.replace(str(path), "the upload")
    return words.replace(str(folder), "the upload")

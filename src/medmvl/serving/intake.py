"""What a client sent, read: one image of a file or an archive, or everything that can be read in one.

Runs in a reader process (reader_processes.py), so that what a file does to its reader reaches no one else; imports neither
torch nor transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from medmvl.errors import AmbiguousSourceError, Choice, MissingExtraError, ReadError, UserError
from medmvl.imaging import MedicalImage, arrays, read, zipped
from medmvl.imaging.declared_metadata import Declared, apply_declared
from medmvl.imaging.dicom import series_in
from medmvl.imaging.limits import at_most
from medmvl.imaging.partners import files_of, header_of
from medmvl.imaging.read import is_dicom, recognised
from medmvl.imaging.volume_files import read_head, renamed_from
from medmvl.serving.archive import unpack
from medmvl.serving.settings import Limits
from medmvl.serving.stored_image import StoredImage, store_image

MAX_STUDIES = 32
"""Studies per upload; those after them are named as left out."""
TWO_FILES = (".hdr", ".hdr.gz", ".mhd", ".nhdr")
"""Suffixes of headers whose pixels lie in other files."""


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
    name: str = "the upload",
) -> StoredImage:
    """Read a file or an archive that a client sent, and store pixels and geometry next to it.

    Args:
        received: a file alone in its folder.
        selector: such as `series=2`, where it holds several.
        limits: the most that is read.
        declared: units and modality, where the file does not say them.
        advice: words how the client chooses, where what it sent holds several.
        name: its name in messages, whatever it is called.

    Raises:
        UserError: it cannot be read, or contradicts what was declared.
    """
    source = _Source(str(received), name)
    try:
        with _opened(received, limits) as target:
            scan = zipped.scan_in(target) if target.is_dir() else target
            source = _Source(f"{scan}#{selector}".removesuffix("#"), name)
            image = _read(source, limits)
            more = zipped.left_out(target) if scan.is_dir() else ()
        image = apply_declared(replace(image, warnings=(*image.warnings, *more)), declared or Declared())
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
        with _opened(received, limits) as target:
            sources = list(_sources(target, found))
            if len(sources) > MAX_STUDIES:
                left = len(sources) - MAX_STUDIES
                found.bad.append(f"{left} more studies were left out; send them by themselves")
            for number, source in enumerate(sources[:MAX_STUDIES]):
                _take(source, limits, found, received.parent / f"stored-{number}")
    except (ValueError, OSError) as error:
        raise UserError(_words(error, received.parent, _Source(str(received)), by_itself)) from None
    if not found.images:
        raise UserError("; ".join(found.bad[:3]) or "the upload holds no image or volume")
    return found


def _take(source: _Source, limits: Limits, found: Intake, target: Path) -> None:
    try:
        image = _read(source, limits)
    except (ValueError, OSError) as error:
        found.bad.append(_words(error, target.parent, source, by_itself))
    else:
        found.images.append(store_image(image, target))


@contextmanager
def _opened(received: Path, limits: Limits) -> Iterator[Path]:
    """The file itself; or the folder of an archive that is one, whose headers find their pixels."""
    head = read_head(received)
    if arrays.sniff(head, received) or not zipped.sniff(head, received):
        yield received
        return
    unpacked = unpack(received, received.parent / "unpacked", limits)
    with renamed_from(unpacked.names):
        yield unpacked.folder


def _read(source: _Source, limits: Limits) -> MedicalImage:
    with at_most(limits.voxels):
        image = read(source.path)
    if image.array.size > limits.voxels:
        raise ReadError(
            f"{source.path}: it holds {image.array.size} voxels; at most {limits.voxels} are taken"
        )
    return image


def _sources(target: Path, found: Intake) -> Iterator[_Source]:
    """What is read one by one: every series of the DICOM files, then every other file that is no part of one."""
    series, damaged = series_in(target) if target.is_dir() or is_dicom(target) else ([], [])
    for file, error in damaged:
        found.bad.append(f"{_named(file, target)}: {_without_paths(error, target.parent)} (left out)")
        if target.is_dir():
            file.unlink()  # while it lies there, no series of its folder can be read by number
    if len(series) == 1:
        yield _Source(str(target))
    else:
        for number in range(1, len(series) + 1):
            yield _Source(f"{target}#series={number}", f"series {number} of the upload")
    if target.is_file():
        if not (series or damaged):
            yield _Source(str(target))
        return
    files = [file for file in sorted(target.rglob("*")) if file.is_file()]
    headers = sorted({header_of(file) for file in files})
    paired = [header for header in headers if header.name.endswith(TWO_FILES)]
    taken = paired[:MAX_STUDIES]  # no more studies are taken
    pixels = {file for header in taken for file in files_of(header) if file != header}
    for header in headers:
        if header not in pixels and (not series or (recognised(header) and not is_dicom(header))):
            yield _Source(str(header), _named(header, target))


def _named(file: Path, target: Path) -> str:
    """The name of a file in messages: its number in the archive."""
    return "the upload" if file == target else f"file {int(file.name.partition('.')[0])} of the upload"


def _words(error: Exception, folder: Path, source: _Source, advice: Callable[[Choice], str]) -> str:
    """Words for a client, which has neither paths of this machine nor a path to add to."""
    if isinstance(error, AmbiguousSourceError):
        said = error.worded(advice)
    elif isinstance(error, MissingExtraError) and error.elsewhere is not None:
        said = f"{source.path}: {error.elsewhere}"
    else:
        said = str(error)
    said = _without_paths(said.replace(source.path, source.name), folder)
    return said if said.startswith(source.name) else f"{source.name}: {said}"


def _without_paths(message: str, folder: Path) -> str:
    words = message.replace(str(folder / "unpacked"), "the upload")
    for path in sorted(folder.iterdir() if folder.is_dir() else (), key=lambda path: -len(path.name)):
        words = words.replace(str(path), "the upload")
    return words.replace(str(folder), "the upload")

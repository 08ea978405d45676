"""What a converter gathers from a public data set: samples, the files they name, and every record that is bad.

Samples go to a file at once, so memory holds only what splits need. Images are decoded and hashed: equal
bytes are one image, whatever their names, and are never in two splits.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

from PIL import Image
from pydantic import ValidationError

from medmvl.datasets.writing import path_from
from medmvl.errors import ReadError, UserError
from medmvl.imaging import read
from medmvl.json_types import JsonObject
from medmvl.schema import ImageBlock, Sample, VolumeBlock, dump_sample, iter_samples
from medmvl.schema.jsonl import describe_validation_error

SPOOL = "samples.jsonl.partial"
EDGE_BYTES = 1 << 20
WHOLE_BYTES = 64 << 20
"""Size above which files are compared by their size and their first and last MiB."""


@dataclass(frozen=True)
class ConvertOptions:
    """How a public data set is converted."""

    split: Mapping[str, float] | Literal["published", "official"] | None = None
    """Shares of a new split by image and patient; `published`, the published one, less what leaks; `official`, the same with
    what leaks, for numbers to be compared with published ones; None: the data set's default."""
    seed: int = 0
    copy: bool = False
    """Copy images and volumes into the new folder instead of naming those in the raw one."""
    fast: bool = False
    """True where files are only looked for: neither decoded nor hashed."""
    skip_bad: bool = False
    """Leave out, and list, records that cannot be used."""


class Entry(NamedTuple):
    """What is kept in memory about a sample."""

    split: str | None
    """Split that the data set itself puts it in."""
    patient: str | None
    study: str | None
    question_type: str
    language: str | None
    files: tuple[str, ...]


class Collection:
    """Filled by one converter, then divided into splits by `public.PublicDataset`."""

    def __init__(
        self,
        raw: Path,
        out: Path,
        folder: Path,
        options: ConvertOptions,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Start empty.

        Args:
            raw: the folder the data set was downloaded to.
            out: the folder that paths in samples start from.
            folder: where files are written until everything went well; a sibling of `out`.
            options: how to convert.
            progress: called with the number of records done.
        """
        self.raw = raw
        self.out = out
        self.folder = folder
        self.options = options
        self._progress = progress
        self._done = 0
        self.entries: list[Entry] = []
        self.bad: list[str] = []
        self.notes: Counter[str] = Counter()
        self.tables: dict[str, str] = {}
        self.digests: dict[str, str] = {}
        """Reference of a file to a digest of its bytes; empty where files are not hashed."""
        self._ids: set[str] = set()
        self._references: dict[Path, str] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._spool = (folder / SPOOL).open("wb")

    def table(self, path: Path) -> Path:
        """Note the digest of a file that questions, reports or labels are read from, and return its path."""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        self.tables[path.relative_to(self.raw).as_posix()] = digest
        return path

    def note(self, what: str, count: int = 1) -> None:
        """Count something the user should know about."""
        self.notes[what] += count

    @contextmanager
    def record(self, where: str) -> Iterator[None]:
        """Context for one record: an error is listed with its place, and the next record follows."""
        try:
            yield
        except ValidationError as error:
            self.bad.append(f"{where}: {describe_validation_error(error)}")
        except UserError as error:
            self.bad.append(f"{where}: {error}")
        self._done += 1
        if self._progress is not None:
            self._progress(self._done)

    def add(self, sample: Sample, split: str | None = None) -> None:
        """Take a sample.

        Args:
            sample: its blocks name files by what `image`, `volume` or `image_from_bytes` returned.
            split: `train`, `validation` or `test`, where the data set says so.

        Raises:
            UserError: where another sample has its id.
        """
        if sample.id in self._ids:
            raise UserError(f"another record has the id {sample.id!r}, too")
        self._ids.add(sample.id)
        self._spool.write((dump_sample(sample) + "\n").encode())
        question_type = sample.target.question_type if sample.target is not None else (sample.task or "open")
        files = tuple(block.path for block in sample.visuals)
        self.entries.append(Entry(split, sample.patient, sample.study, question_type, sample.language, files))

    def image(self, path: Path) -> str:
        """Return what samples call an image.

        Raises:
            ReadError: where it is missing or, unless `fast`, cannot be decoded.
        """
        return self._reference(path, "images")

    def volume(self, path: Path) -> str:
        """Return what samples call a volume. It is hashed but not decoded: `medmvl data check` reads it.

        Raises:
            ReadError: where it is missing or empty.
        """
        return self._reference(path, "volumes")

    def image_from_bytes(self, name: str, data: bytes) -> str:
        """Write an image that came inside a table or an archive, and return what samples call it.

        Args:
            name: below `images/` of the new folder.
            data: the encoded file, such as PNG.

        Raises:
            ReadError: where the bytes are no image.
        """
        reference = f"images/{name}"
        with _broken_is_read_error(name), Image.open(io.BytesIO(data)) as decoded:
            decoded.load()
            self._sizes[reference] = (decoded.height, decoded.width)
        target = self.folder / reference
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        self.digests[reference] = hashlib.sha256(data).hexdigest()
        return reference

    def written(self, reference: str) -> str:
        """Note a file the converter wrote into the new folder itself, and return what samples call it."""
        self.digests[reference] = file_digest(self.folder / reference)
        return reference

    def size(self, reference: str) -> tuple[int, int]:
        """Height and width of an image, for boxes in it."""
        if reference not in self._sizes:
            path = self.out / reference
            if not path.exists():
                path = self.folder / reference
            with _broken_is_read_error(path.name), Image.open(path) as decoded:
                self._sizes[reference] = (decoded.height, decoded.width)
        return self._sizes[reference]

    def samples(self) -> Iterator[Sample]:
        """Every sample that was taken, in order."""
        self._spool.flush()
        return iter_samples(self.folder / SPOOL)

    def lines(self) -> Iterator[bytes]:
        """The same as lines of JSON."""
        self._spool.flush()
        with (self.folder / SPOOL).open("rb") as file:
            yield from file

    def close(self) -> None:
        """Remove the file the samples were gathered in."""
        self._spool.close()
        (self.folder / SPOOL).unlink(missing_ok=True)

    def identity(self, block: ImageBlock | VolumeBlock) -> str:
        """Digest of the file a block names, or its path where it was not hashed."""
        return self.digests.get(block.path, block.path)

    def _reference(self, path: Path, kind: str) -> str:
        if path not in self._references:
            self._look(path, kind)
            reference = path_from(self.out, path)
            if self.options.copy:
                inside = path.relative_to(self.raw) if path.is_relative_to(self.raw) else Path(path.name)
                reference = (PurePosixPath(kind) / inside.as_posix()).as_posix()
                target = self.folder / reference
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
            if not self.options.fast:
                self.digests[reference] = file_digest(path)
            self._references[path] = reference
        return self._references[path]

    def _look(self, path: Path, kind: str) -> None:
        if not path.is_file():
            shown = path.relative_to(self.raw) if path.is_relative_to(self.raw) else path.name
            raise ReadError(f"the file {shown} is missing")
        if path.stat().st_size == 0:
            raise ReadError(f"the file {path.name} is empty")
        if kind == "images" and not self.options.fast:
            read(path)


def file_digest(path: Path) -> str:
    """SHA-256 of a file; of its size, start and end where it is large."""
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= WHOLE_BYTES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        start = file.read(EDGE_BYTES)
        file.seek(-EDGE_BYTES, io.SEEK_END)
        return hashlib.sha256(b"%d" % size + start + file.read()).hexdigest()


@contextmanager
def _broken_is_read_error(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ReadError(f"{name} is not an image that can be decoded ({error})") from None


def summary_of(entries: list[Entry], chosen: list[int]) -> JsonObject:
    """Count what is in one split."""
    part = [entries[index] for index in chosen]
    return {
        "samples": len(part),
        "patients": len({entry.patient for entry in part if entry.patient}),
        "studies": len({entry.study for entry in part if entry.study}),
        "files": len({name for entry in part for name in entry.files}),
        "question_types": dict(sorted(Counter(entry.question_type for entry in part).items())),
        "languages": dict(sorted(Counter(entry.language or "-" for entry in part).items())),
    }

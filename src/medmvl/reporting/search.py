"""What there is to report on: every DICOM series, NIfTI, NRRD, MetaImage, array and image below some folders.

A volume is one study to report on; the images of one DICOM study (frontal and lateral) are one together. What cannot be
read is listed and stops nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from medmvl.datasets.loader import BlockLoader
from medmvl.errors import ReadError, UserError
from medmvl.imaging.dicom import series_in
from medmvl.imaging.dicom_series import Series
from medmvl.imaging.partners import files_of, header_of
from medmvl.imaging.read import FORMATS
from medmvl.imaging.selector import split_selector
from medmvl.imaging.volume_files import read_head
from medmvl.reporting.identity import study_uid
from medmvl.schema import Declarations, ImageBlock, Message, Sample, TextBlock, VisualBlock, VolumeBlock

SUFFIXES = (
    ".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".npy", ".npz", ".png", ".jpg", ".jpeg", ".tif", ".tiff",
    ".bmp", ".webp", ".jxl", ".pgm", ".ppm", ".mgh", ".mgz", ".dcm", ".dicom",
)  # fmt: skip
"""A file with one of these suffixes that cannot be read is an error; other unreadable files are ignored."""
DICOM, RASTER = FORMATS[-1].name, FORMATS[-2].name
FILES = BlockLoader(Path())
"""Reads what was found: paths of blocks are absolute."""
_ID_DIGITS = 12


class Bad(NamedTuple):
    """What could not be reported on, at which step, and why."""

    path: str
    step: str
    error: str


@dataclass(frozen=True)
class Study:
    """What one report is about."""

    id: str
    """Name that says nothing about the patient; it changes when a file does."""
    name: str
    """The path below the folder that was named."""
    blocks: tuple[ImageBlock | VolumeBlock, ...]
    dicom: tuple[Path, ...] = ()
    """The DICOM files the pixels come from, in order; empty for other formats."""
    modality: str | None = None
    states: dict[VisualBlock, str] = field(default_factory=dict)
    """State of each block's files when it was found, as of `BlockLoader`."""

    def sample(self, prompt: str) -> Sample:
        """The question whose answer is the report."""
        content = (*self.blocks, TextBlock(text=prompt))
        return Sample(id=self.id, messages=(Message(role="user", content=content),))

    def has_changed(self) -> bool:
        """Whether a file was replaced, added or removed since: then `#series=2` may be another patient's."""
        return any(FILES.state(block) != state for block, state in self.states.items())


@dataclass
class Found:
    """What a search found."""

    studies: list[Study] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    num_ignored: int = 0
    """Number of ignored files: not an image and no image suffix."""


def find_studies(paths: Iterable[Path], declared: Declarations) -> Found:
    """Search files and folders, in a stable order.

    Args:
        paths: what the user named.
        declared: what the user knows about all of them.

    Raises:
        UserError: a path that was named is not there.
    """
    found = Found()
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: there is no such file or folder")
        whole = path.absolute()
        search = _Search(whole, declared, found)
        search.folder(whole) if whole.is_dir() else search.file(whole, named=True)
    found.studies = _once(found.studies)
    return found


def _once(studies: Iterable[Study]) -> list[Study]:
    """The studies, those of a path that was named twice once.

    Raises:
        UserError: two studies cannot be told apart.
    """
    known: dict[str, Study] = {}
    seen: set[tuple[object, ...]] = set()
    for study in studies:
        files = study.dicom or study.blocks
        if files in seen:
            continue
        seen.add(files)
        other = known.setdefault(study.id, study)
        if other is not study:
            raise UserError(
                f"{other.blocks[0].path} and {study.blocks[0].path}: their folders have one name, and the files one name, size "
                "and time; name a folder that holds both"
            )
    return list(known.values())


@dataclass(frozen=True)
class _Search:
    root: Path
    declared: Declarations
    found: Found
    _states: dict[Path, str] = field(default_factory=dict)
    """Per file or folder; a folder of many series is looked at once."""

    def folder(self, folder: Path, *, within_dicom: bool = False) -> None:
        """Take the files here, then go into the folders; the topmost folder with DICOM files is read as one."""
        entries = sorted(folder.iterdir())
        files = [entry for entry in entries if entry.is_file() and header_of(entry) == entry]
        formats = {file: self._format(file) for file in files}
        is_dicom = any(name == DICOM for name in formats.values())
        if is_dicom and not within_dicom:
            self._dicom(folder)
        for file, name in formats.items():
            if name != DICOM:
                self.file(file, name)
        for entry in entries:
            if entry.is_dir() and not entry.is_symlink():
                self.folder(entry, within_dicom=within_dicom or is_dicom)

    def file(self, file: Path, format_: str | None = None, *, named: bool = False) -> None:
        """Take one file that is not part of a folder of DICOM files."""
        format_ = self._format(file) if format_ is None else format_
        if format_ == DICOM:
            self._dicom(file)
        elif format_ is not None:
            flat = format_ == RASTER or is_flat(read_head(file))
            self._add(file, files_of(file), [_block(file, "image" if flat else "volume", self.declared)])
        elif not (named or file.name.lower().endswith(SUFFIXES)):
            self.found.num_ignored += 1
        elif not any(bad.path == self._name(file) for bad in self.found.bad):
            self._bad(file, "this is not an image in a format that can be read")

    def _format(self, file: Path) -> str | None:
        """The format by content, or None; a file that is damaged at once is listed here."""
        try:
            head = read_head(file) if file.stat().st_size else b""
        except (ReadError, OSError) as error:
            self._bad(file, str(error))
            return None
        if file.name.upper().startswith("DICOMDIR"):
            return None
        return next((one.name for one in FORMATS if head and one.sniff(head, file)), None)

    def _dicom(self, source: Path) -> None:
        try:
            series, damaged = series_in(source)
        except ReadError as error:
            self._bad(source, str(error))
            return
        for file, wrong in damaged:
            self._bad(file, wrong)
        images: dict[str, list[Path]] = {}
        for number, one in enumerate(series, 1):
            selector = f"#series={number}" if len(series) > 1 else ""
            files = _files(one)
            alone = one.series_type == "slide" or (
                len(series) == 1 if source.is_file() else one.frames[0].file.integer("NumberOfFrames", 1) <= 1
            )
            if one.series_type in ("volume", "stack"):
                block = _block(f"{source}{selector}", "volume", self.declared)
                self._add(f"{source}{selector}", files, [block], one)
            elif one.series_type in ("image", "slide") and alone:
                images.setdefault(study_uid(files[0]) or str(files[0]), []).append(files[0])
            else:
                self._bad(f"{source}{selector}", f"{one}: frames are neither a volume nor one image")
        for files in images.values():
            blocks = [_block(file, "image", self.declared) for file in files]
            self._add(files[0], files, blocks, _of(files[0], series))

    def _add(
        self,
        path: str | Path,
        files: Sequence[Path],
        blocks: Sequence[VisualBlock],
        series: Series | None = None,
    ) -> None:
        stats = [(self._name(file), (stat := file.stat()).st_size, stat.st_mtime_ns) for file in files]
        key = hashlib.sha256(json.dumps([self._name(path), stats]).encode()).hexdigest()
        modality = series.frames[0].file.modality if series else self.declared.get("modality")
        self.found.studies.append(
            Study(
                id=f"study-{key[:_ID_DIGITS]}",
                name=self._name(path),
                blocks=tuple(blocks),
                dicom=tuple(files) if series else (),
                modality=modality,
                states={block: self._state(block) for block in blocks},
            )
        )

    def _state(self, block: VisualBlock) -> str:
        where, _ = split_selector(block.path)
        if where not in self._states:
            self._states[where] = FILES.state(block)
        return self._states[where]

    def _bad(self, path: str | Path, error: str) -> None:
        self.found.bad.append(Bad(self._name(path), "find", error))

    def _name(self, path: str | Path) -> str:
        return self.root.name + os.fspath(path).removeprefix(os.fspath(self.root))


def is_flat(head: bytes) -> bool:
    """Whether the first bytes are those of an `.npy` file that holds a 2D image, in colour or not."""
    written = re.search(rb"'shape': \(([\d, ]*)\)", head) if head.startswith(b"\x93NUMPY") else None
    shape = [int(number) for number in written.group(1).split(b",") if number.strip()] if written else []
    return len(shape) == 2 or (len(shape) == 3 and shape[-1] == 3)


def _block(path: str | Path, kind: str, declared: Declarations) -> ImageBlock | VolumeBlock:
    block = ImageBlock if kind == "image" else VolumeBlock
    return block.model_validate({kind: os.fspath(path), **declared})


def _files(series: Series) -> list[Path]:
    return list(dict.fromkeys(frame.file.path for frame in series.frames))


def _of(file: Path, series: Sequence[Series]) -> Series:
    return next(one for one in series if one.frames[0].file.path == file)

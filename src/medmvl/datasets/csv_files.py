"""The files that a table names: each is looked into once, and what must be declared about it is decided."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

from medmvl.datasets.writing import path_from
from medmvl.errors import ReadError
from medmvl.imaging import MedicalImage, read
from medmvl.imaging.dicom import fixed_series, series_in
from medmvl.imaging.modalities import known_modality
from medmvl.imaging.selector import split_selector
from medmvl.imaging.units import CT_MODALITIES, hounsfield_doubts, known_units
from medmvl.schema import Declarations, ImageBlock, VisualBlock, VolumeBlock

EIGHT_BIT_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Suffixes of files that are checked even where the user says that they are volumes."""
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
"""How an absolute path of Windows begins."""
Language = Literal["en", "zh", "auto"]


@dataclass(frozen=True, kw_only=True)
class CsvOptions:
    """What a table cannot say itself."""

    columns: Mapping[str, str | None] = field(default_factory=dict)
    """Column by role, where its name does not show the role; see `table.COLUMN_NAMES`."""
    question: str | None = None
    """Question about every row that has none; reports have a default."""
    kind: Literal["image", "volume"] | None = None
    """Kind of the files of the path column, 2D images or 3D volumes; None looks into every file."""
    language: Language = "auto"
    """`auto`: Chinese where the text has Chinese characters."""
    units: str | None = None
    modality: str | None = None
    """Declared for files that do not say; DICOM says both. The columns `units` and `modality` say it for a row."""
    fractions: Mapping[str, float] = field(
        default_factory=lambda: {"train": 0.8, "validation": 0.1, "test": 0.1}
    )
    seed: int = 0
    keep_ids: bool = False
    """Keep the patient and study columns as they are: only where they are pseudonyms already."""
    key: str | None = None
    """File with the key of the pseudonyms; None: `<out>.key`. Tables of the same patients need the same one."""
    skip_bad: bool = False
    date_format: str | None = None
    """How the date column is written, as of `datetime.strptime`, such as `%d/%m/%Y`; None: year, month, day in this order."""


@dataclass(frozen=True)
class _Facts:
    """What a file is, and what must be declared about it."""

    kind: str
    declared: Declarations


class FileBlocks:
    """Makes blocks of paths, looking into each file once."""

    def __init__(self, images: Path, out: Path, options: CsvOptions) -> None:
        self.images = images
        self.out = out
        self.options = options
        self._seen: dict[tuple[str, str | None, str | None], _Facts] = {}
        self._series_in = lru_cache(maxsize=4)(series_in)
        self._noticed: Counter[str] = Counter()

    def warnings(self) -> list[str]:
        """What was noticed about units, with the number of files."""
        return [f"{count} files: {what}" for what, count in sorted(self._noticed.items())]

    def make(
        self, text: str, kind: str | None, units: str | None, modality: str | None, role: str
    ) -> list[VisualBlock]:
        r"""Turn a cell, several paths separated by `;`, into blocks; `units` and `modality` are those of the row.

        Paths may be written as on Windows (`scans\a.png`) or in another form of Unicode than the folder's. A series that is
        counted (`scan#series=2`) becomes the one that it is now, by its digest.

        Raises:
            ReadError: where a file is missing, cannot be read, or is said to be in units that it cannot have.
        """
        blocks: list[VisualBlock] = []
        for part in filter(None, map(str.strip, text.split(";"))):
            reference = self._find(part)
            path, selector = split_selector(reference)
            facts = self._look(reference, kind, units, modality)
            if role == "volume" and facts.kind == "image":
                self._noticed[
                    "images in the column of volumes: they become 2D images. A CT saved as an image has lost its "
                    "Hounsfield units and its other slices; use the DICOM or NIfTI it came from"
                ] += 1
            name = path_from(self.out, path) + str(fixed_series(path, selector, self._series_in))
            if facts.kind == "image":
                blocks.append(ImageBlock(image=name, **facts.declared))
            else:
                blocks.append(VolumeBlock(volume=name, **facts.declared))
        return blocks

    def _find(self, part: str) -> str:
        """The path that a cell means, with its selector."""
        slashes = part.replace("\\", "/")
        ways = [part, slashes, *(unicodedata.normalize(form, slashes) for form in ("NFC", "NFD"))]
        for way in ways:
            reference = str(self.images / way)
            if split_selector(reference)[0].exists():
                return reference
        hint = ""
        if _DRIVE.match(part):
            hint = "; it is a path of Windows: write it as it is below that folder"
        elif any(mark in part for mark in ",|"):
            hint = "; several files in one cell are separated by ';'"
        raise ReadError(f"{part}: there is no such file or folder below {self.images}{hint}")

    def _look(self, reference: str, kind: str | None, units: str | None, modality: str | None) -> _Facts:
        """Read the file where no kind is given or something is declared; declarations fill what the file leaves out."""
        said = None if units is None else known_units(units)
        modality = None if modality is None else known_modality(modality)
        wanted = {"units": said or self.options.units, "modality": modality or self.options.modality}
        doubtful = kind == "volume" and reference.lower().endswith(EIGHT_BIT_SUFFIXES)
        if kind is not None and not any(wanted.values()) and not doubtful:
            return _Facts(kind, {})
        key = (reference, said, modality)
        if key not in self._seen:
            image = read(reference, units=said)
            if modality is not None and image.modality not in (None, modality):
                raise ReadError(
                    f"{reference}: said to be {modality}, but the file says modality {image.modality}"
                )
            if image.units == "display" and "CT" in (modality, self.options.modality):
                self._noticed["a CT saved as an image: its Hounsfield units are lost"] += 1
            if kind not in (None, image.kind):
                raise ReadError(
                    f"{reference}: expected one {kind}, but the file holds one {image.kind}; "
                    f"a table of both names them in a column 'path', looked up in the files"
                )
            silent = {
                "units": said is not None or self._takes_units(image),
                "modality": image.modality is None,
            }
            declared = {name: value for name, value in wanted.items() if value is not None and silent[name]}
            self._seen[key] = _Facts(image.kind, cast(Declarations, declared))
        return self._seen[key]

    def _takes_units(self, image: MedicalImage) -> bool:
        """Whether the units declared for all files hold for this one, which must not say otherwise or be no CT."""
        if self.options.units == "HU" and image.units == "display":
            self._noticed[
                "not declared as HU, as they are images of 8 bits: a CT saved so has lost its values"
            ] += 1
        if self.options.units is None or image.units != "arbitrary":
            return False
        if self.options.units == "HU" and image.modality not in (None, *CT_MODALITIES):
            self._noticed[f"not declared as HU, as they say modality {image.modality}"] += 1
            return False
        if self.options.units == "HU" and hounsfield_doubts(image.array, image.kind):
            self._noticed[
                "declared as HU, but their values hardly are: see `medmvl inspect FILE --units HU`"
            ] += 1
        return True

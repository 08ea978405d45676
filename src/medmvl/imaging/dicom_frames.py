"""Frames: every 2D image of a DICOM file with its own place and rescale, wherever the file keeps them.

A classic file is one frame with tags at the top; an enhanced one keeps them in functional groups, shared or per frame
(PS3.3 C.7.6.16); a dose grid in an offset vector. Here they become the same thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medmvl.errors import ReadError
from medmvl.imaging.dicom_header import DicomFile, naming
from medmvl.imaging.dicom_marks import image_type, mark_value
from medmvl.imaging.dicom_photometric import colour_notes, without_pixels
from medmvl.imaging.dicom_place_tags import ORIENTATION, POSITION, SPACING, unit_directions
from medmvl.imaging.dicom_places import spread
from medmvl.imaging.dicom_values import tag_floats, tag_text, tag_value
from medmvl.imaging.limits import MAX_BYTES, check_size

Vector = NDArray[np.float64]
_EMPTY = Dataset()
"""Functional groups of a classic file; never written to."""
MAX_COMPRESSION = 2000
"""A compressed file over 256 MiB when decoded must not claim more than this many bytes per stored byte."""


@dataclass(frozen=True, eq=False)
class Frame:
    """One image of a file; positions and directions in DICOM's LPS millimetres."""

    file: DicomFile
    index: int
    shape: tuple[int, int]
    position: Vector | None
    """Centre of the first pixel."""
    directions: Vector | None
    """`(2, 3)`: unit vectors in which the column index and the row index grow."""
    spacing: tuple[float, float] | None
    """Millimetres between rows, between columns."""
    thickness: float
    slope: float = 1.0
    intercept: float = 0.0
    has_rescale: bool = False
    rescale_type: str = ""
    localizer: bool = False
    tile: tuple[int, int] | None = None
    """Row and column of its first pixel in the stored image, where that holds several side by side (a mosaic)."""
    corner: tuple[int, int] | None = None
    """Row and column of its first pixel in the image that tiles make together (a whole slide)."""
    height: float | None = None
    """Number that orders it where the file does not say where it lies: its Slice Location or Instance Number."""
    blank: bool = False
    """True where the file leaves it out because it is empty: a slice without the segment."""
    given: Mapping[str, float | str] = field(default_factory=dict, repr=False)
    """Marks that the file keeps in vectors over its frames."""
    notes: tuple[str, ...] = ()
    """Assumptions about where it lies, as warnings."""
    groups: tuple[Dataset, Dataset] = field(default_factory=lambda: (Dataset(), Dataset()), repr=False)
    """The frame's own functional groups and the shared ones."""

    @cached_property
    def marks(self) -> dict[str, float | str | None]:
        """Values of the marks that were asked for so far."""
        return dict(self.given)

    def mark(self, name: str) -> float | str | None:
        """Return what the file says of a mark of `dicom_marks.MARKS`, or None."""
        if name not in self.marks:
            with naming(self.file):
                self.marks[name] = mark_value(name, self.file, *self.groups)
        return self.marks[name]

    @cached_property
    def normal(self) -> Vector:
        """Unit normal of the plane: columns x rows."""
        assert self.directions is not None
        return np.asarray(np.cross(self.directions[0], self.directions[1]), dtype=np.float64)

    @property
    def placed(self) -> bool:
        """Whether the file says where this image lies in the patient."""
        return self.position is not None and self.directions is not None and self.spacing is not None


def frames_of(file: DicomFile) -> list[Frame]:
    """Return the frames of a file after checking that what it claims can be there.

    Raises:
        ReadError: no pixels, absurd or contradictory sizes, or an uncompressed file that is cut off.
    """
    rows, columns, count = (
        file.integer("Rows"),
        file.integer("Columns"),
        file.integer("NumberOfFrames", 1) or 1,
    )
    if file.pixel_keyword is None:
        raise ReadError(without_pixels(file))
    _check_claim(file, rows, columns, count)
    shared, per_frame = _functional_groups(file, count)
    frames = [_frame(file, index, (rows, columns), shared, per_frame[index]) for index in range(count)]
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "PhotometricInterpretation"):
        file.text(keyword)  # a tag that cannot be parsed is refused here, where the file is known
    notes = (*colour_notes(file), *_left_out(file, rows, columns, count))
    return spread(file, [replace(frame, notes=notes) for frame in frames] if notes else frames)


BITS_OF_PADDING = 128
"""Bits that may pad a value: smaller frames beyond the count cannot be recognised."""


def _left_out(file: DicomFile, rows: int, columns: int, count: int) -> tuple[str, ...]:
    """Say that more frames are stored than the header counts; they are not read."""
    if file.encapsulated:
        stored = _num_offsets(file) or count
    else:
        bits = _frame_bits(file, rows, columns)
        stored = file.num_pixel_bytes * 8 // bits if bits > BITS_OF_PADDING else count
    described = file.value("PerFrameFunctionalGroupsSequence")
    most = max(stored, 0 if described is None else len(described))
    if most <= count:
        return ()
    what = "pixels" if stored > count else "functional groups"
    return (
        f"the file has {what} of {most} frames of this size, and its header counts {count}: what is beyond was left out "
        "(or Number of Frames, Rows, Columns or Bits Allocated is wrong)",
    )


def _frame_bits(file: DicomFile, rows: int, columns: int) -> int:
    """Bits of one frame without compression; colours in 4:2:2 share two of their three samples with a neighbour."""
    bits = rows * columns * file.integer("SamplesPerPixel", 1) * file.integer("BitsAllocated")
    return bits * 2 // 3 if file.value("PhotometricInterpretation") == "YBR_FULL_422" else bits


def _num_offsets(file: DicomFile) -> int:
    """Return how many frames an offset table lists, 0 where there is none."""
    if (extended := file.value("ExtendedOffsetTable")) is not None:
        return len(extended) // 8
    with file.open_pixels() as stream:
        head = stream.read(8)
    return int.from_bytes(head[4:8], "little") // 4 if head[:4] == b"\xfe\xff\x00\xe0" else 0


def _check_claim(file: DicomFile, rows: int, columns: int, count: int) -> None:
    bits, samples = file.integer("BitsAllocated"), file.integer("SamplesPerPixel", 1)
    if bits not in (1, 8, 16, 32, 64) or samples not in (1, 3, 4):
        raise ReadError(f"{bits} bits and {samples} samples per pixel are not a DICOM image")
    slide = file.value("TotalPixelMatrixRows") is not None  # its tiles are never all decoded at once
    check_size((1 if slide else count, rows, columns, samples), max(1, bits // 8))
    claimed, there = (_frame_bits(file, rows, columns) * count + 7) // 8, file.num_pixel_bytes
    if not file.encapsulated and there < claimed:
        raise ReadError(
            f"the file is cut off: its header claims {claimed} bytes of pixels, {there} are there"
        )
    if file.encapsulated and there < 8 * count:
        raise ReadError(
            f"the file is cut off: its header claims {count} compressed frames, {there} bytes are there"
        )
    if file.encapsulated and claimed > MAX_BYTES // 8 and claimed > MAX_COMPRESSION * there:
        raise ReadError(
            f"{there} compressed bytes claim to be {claimed} bytes of pixels: damaged, or made to exhaust memory"
        )


def _functional_groups(file: DicomFile, count: int) -> tuple[Dataset, list[Dataset]]:
    shared = file.value("SharedFunctionalGroupsSequence")
    per_frame = file.value("PerFrameFunctionalGroupsSequence")
    if per_frame is not None and len(per_frame) < count:
        raise ReadError(f"the header describes {len(per_frame)} frames but claims {count}")
    return (shared[0] if shared else _EMPTY), (list(per_frame) if per_frame else [_EMPTY] * count)


def _frame(file: DicomFile, index: int, shape: tuple[int, int], shared: Dataset, own: Dataset) -> Frame:
    position = _find(file, own, shared, *POSITION[1:])
    orientation = _find(file, own, shared, *ORIENTATION[1:])
    slope, intercept, rescale_type = _rescale(file, own, shared)
    thickness = _find(file, own, shared, "PixelMeasuresSequence", "SliceThickness", 1)
    return Frame(
        file,
        index,
        shape,
        position=None if position is None else np.array(position),
        directions=None if orientation is None else unit_directions(orientation),
        spacing=_spacing(file, own, shared),
        thickness=thickness[0] if thickness and 0 < thickness[0] < 1e4 else 1.0,
        slope=1.0 if slope is None else slope,
        intercept=intercept or 0.0,
        has_rescale=slope is not None,
        rescale_type=rescale_type,
        localizer="LOCALIZER" in image_type(file, own, shared),
        groups=(own, shared),
    )


def _find(
    file: DicomFile, own: Dataset, shared: Dataset, group: str, keyword: str, count: int
) -> tuple[float, ...] | None:
    """Look a tag up in the frame's functional group, the shared one, then at the top of the file."""
    for source in (own, shared):
        items = tag_value(source, group)
        found = tag_floats(items[0], keyword, count) if items else None
        if found is not None:
            return found
    return tag_floats(file.header, keyword, count)


def _spacing(file: DicomFile, own: Dataset, shared: Dataset) -> tuple[float, float] | None:
    found = _find(file, own, shared, *SPACING[1:])
    if found is None or not all(1e-6 < step < 1e4 for step in found):
        return None
    return found[0], found[1]


def _rescale(file: DicomFile, own: Dataset, shared: Dataset) -> tuple[float | None, float | None, str]:
    for source in (own, shared):
        items = tag_value(source, "PixelValueTransformationSequence")
        if items:
            return _slope_of(items[0])
    scaling = tag_floats(file.header, "DoseGridScaling", 1)
    return (scaling[0], 0.0, "") if scaling and file.modality == "RTDOSE" else _slope_of(file.header)


def _slope_of(source: Dataset) -> tuple[float | None, float | None, str]:
    slope, intercept = tag_floats(source, "RescaleSlope", 1), tag_floats(source, "RescaleIntercept", 1)
    if slope is None and intercept is None:
        return None, None, ""
    if slope is None or intercept is None:
        there, missing = ("Intercept", "Slope") if slope is None else ("Slope", "Intercept")
        raise ReadError(f"the header has Rescale {there} but no Rescale {missing}: its values are not known")
    if slope is not None and slope[0] == 0:
        raise ReadError("the header's RescaleSlope is 0: every voxel would have the same value")
    return slope[0], intercept[0], tag_text(source, "RescaleType")

"""Places that a file does not give frame by frame: dose grids, reconstructed SPECT, Siemens mosaics, tiles of a slide."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydicom.tag import BaseTag

from medmvl.errors import ReadError
from medmvl.imaging.dicom_header import DicomFile
from medmvl.imaging.dicom_marks import image_type, in_groups
from medmvl.imaging.dicom_place_tags import unit_directions
from medmvl.imaging.dicom_tags import (
    SEGMENTATIONS,
    SIEMENS_CSA,
    SIEMENS_MOSAIC_COUNT,
    UIH_GRID_COUNT,
    ULTRASOUND_VOLUME,
)
from medmvl.imaging.dicom_values import PARSER_ERRORS, sampled_more, tag_floats, tag_value
from medmvl.imaging.silence import silent_libraries

if TYPE_CHECKING:
    from medmvl.imaging.dicom_frames import Frame

MAX_STEP_MM = 1e4
DOSE_TOLERANCE_MM = 0.1
_NM_VECTORS = {
    "EnergyWindowVector": "energy window", "DetectorVector": "detector", "RRIntervalVector": "cardiac phase",
    "TimeSlotVector": "time", "TimeSliceVector": "time", "PhaseVector": "time",
}  # fmt: skip
CsaHeader = dict[str, Any]
"""Header that Siemens keeps of its own, as nibabel reads it."""
UNLIKELY_INTERPOLATION = 2.9
"""Scanners double a matrix by interpolation, seldom more."""
WIDEST_BORE_MM = 650.0
"""No magnet has a field of view that is wider in both directions."""
MOSAIC = "this is a Siemens mosaic: many slices side by side in one image"


def spread(file: DicomFile, frames: list[Frame]) -> list[Frame]:
    """Return the frames of a file with the places that its own object type keeps elsewhere.

    Raises:
        ReadError: what says where the frames lie is missing or contradicts itself.
    """
    if file.value("GridFrameOffsetVector") is not None and len(frames) > 1:
        return _dose_grid(file, frames)
    if file.modality == "NM" and len(frames) > 1:
        return _nuclear(file, frames)
    if file.text("SOPClassUID") == ULTRASOUND_VOLUME:
        return _ultrasound(file, frames)
    if file.value("TotalPixelMatrixRows") is not None:
        return _tiles(file, frames)
    if len(frames) == 1 and _is_mosaic(file):
        return _mosaic(file, frames[0])
    if len(frames) == 1 and (count := _count(file, UIH_GRID_COUNT)) > 1:
        raise ReadError(
            f"this is a grid of United Imaging: {count} slices side by side in one image, which is not unfolded here; "
            "convert the series to NIfTI with dcm2niix"
        )
    doubt = _looks_like_sheet(file) if len(frames) == 1 and file.modality == "MR" else ()
    return [replace(frame, notes=(*frame.notes, *doubt)) for frame in frames] if doubt else frames


def _is_mosaic(file: DicomFile) -> bool:
    """Whether Image Type, or the count of slices in Siemens' private elements, says so."""
    terms = file.value("ImageType")
    if terms is not None and not isinstance(terms, str) and "MOSAIC" in terms:
        return True
    if _count(file, SIEMENS_MOSAIC_COUNT) > 1:
        return True
    if file.private(SIEMENS_CSA) is None:  # kept where the image may be a mosaic
        return False
    with silent_libraries():
        return (_csa_values(_csa(file), "NumberOfImagesInMosaic") or [0])[0] > 1


def _looks_like_sheet(file: DicomFile) -> tuple[str, ...]:
    """What is wrong with an image that has far more pixels than were acquired, or is wider than a scanner."""
    times = sampled_more(file.header)
    spacing = tag_floats(file.header, "PixelSpacing", 2) or (0.0, 0.0)
    sides = file.integer("Rows"), file.integer("Columns")
    wide = min(size * step for size, step in zip(sides, spacing, strict=True))
    if times < UNLIKELY_INTERPOLATION and not (times > 1.5 and wide > WIDEST_BORE_MM):
        return ()
    return (
        f"the image has {times:.3g} times as many pixels per side as were acquired (Acquisition Matrix): it may be a mosaic "
        "of many slices whose private elements are missing, as after de-identification; its place is then that of no slice",
    )


def _count(file: DicomFile, tag: BaseTag) -> int:
    """Return a private count of slices, 0 where there is none."""
    stated = file.private(tag)
    try:
        if isinstance(stated, bytes):
            text = stated.strip(b" \0")
            return int(text) if text.isdigit() else int.from_bytes(stated[:2], "little")
        return 0 if stated is None else int(stated)
    except PARSER_ERRORS:
        return 0


def _dose_grid(file: DicomFile, frames: list[Frame]) -> list[Frame]:
    """Place dose planes by Grid Frame Offset Vector, relative or absolute (PS3.3 C.8.8.3.2)."""
    offsets = tag_floats(file.header, "GridFrameOffsetVector", len(frames))
    if offsets is None:
        raise ReadError(
            f"Grid Frame Offset Vector does not hold a number for each of the {len(frames)} dose planes: "
            "where they lie is unknown"
        )
    first = frames[0]
    if not first.placed:
        return frames
    assert first.position is not None
    # A vector that does not begin with 0 holds z coordinates of the patient.
    axis = first.normal if offsets[0] == 0 else np.array([0.0, 0.0, 1.0])
    if offsets[0] != 0 and abs(abs(first.normal[2]) - 1) > 1e-3:
        raise ReadError("Grid Frame Offset Vector holds z coordinates, but the dose planes are not axial")
    height = float(first.position @ axis)
    notes: tuple[str, ...] = ()
    if offsets[0] != 0 and abs(offsets[0] - height) > DOSE_TOLERANCE_MM:
        notes = (
            f"Grid Frame Offset Vector begins with {offsets[0]:g} mm, Image Position (Patient) with {height:g} mm: the "
            "position was taken; compare with the scan",
        )
    return [
        replace(frame, position=first.position + (offset - offsets[0]) * axis, notes=notes)
        for frame, offset in zip(frames, offsets, strict=True)
    ]


def _nuclear(file: DicomFile, frames: list[Frame]) -> list[Frame]:
    """Place reconstructed slices by the detector's geometry and Slice Vector (PS3.3 C.8.4.8, C.8.4.15)."""
    marks = _vectors(file, frames)
    slices = tag_floats(file.header, "SliceVector", len(frames))
    detector = file.value("DetectorInformationSequence")
    source = detector[0] if detector else file.header
    orientation = tag_floats(source, "ImageOrientationPatient", 6) or tag_floats(
        file.header, "ImageOrientationPatient", 6
    )
    position = tag_floats(source, "ImagePositionPatient", 3) or tag_floats(
        file.header, "ImagePositionPatient", 3
    )
    step = tag_floats(file.header, "SpacingBetweenSlices", 1)
    frames = [replace(frame, given=given) for frame, given in zip(frames, marks, strict=True)]
    directions = None if orientation is None else unit_directions(orientation)
    projections = {"TOMO", "GATED TOMO"}.intersection(image_type(file, *frames[0].groups)[2:3])
    if slices is None or directions is None or position is None or projections:
        return frames
    if step is None or not 0 < abs(step[0]) < MAX_STEP_MM:
        raise ReadError(
            "the reconstructed slices have no Spacing Between Slices (0018,0088): how far apart they lie, and "
            "towards which side, is unknown"
        )
    normal = np.cross(directions[0], directions[1])
    return [
        replace(frame, position=np.array(position) + (number - 1) * step[0] * normal, directions=directions)
        for frame, number in zip(frames, slices, strict=True)
    ]


def _ultrasound(file: DicomFile, frames: list[Frame]) -> list[Frame]:
    """Place planes in the Volume Frame of Reference (PS3.3 C.8.24.3), which is the transducer's and not the patient's."""

    def found(frame: Frame, group: str, keyword: str, count: int) -> tuple[float, ...] | None:
        for source in frame.groups:
            items = tag_value(source, group)
            if items and (numbers := tag_floats(items[0], keyword, count)) is not None:
                return numbers
        return None

    placed = []
    for frame in frames:
        position = found(frame, "PlanePositionVolumeSequence", "ImagePositionVolume", 3)
        orientation = found(frame, "PlaneOrientationVolumeSequence", "ImageOrientationVolume", 6)
        if position is None or orientation is None:
            return frames
        directions = unit_directions(orientation)
        if directions is None:
            raise ReadError("Image Orientation (Volume) (0020,9302) is not two perpendicular unit vectors")
        placed.append(replace(frame, position=np.array(position), directions=directions))
    return placed


def _vectors(file: DicomFile, frames: Sequence[Frame]) -> list[dict[str, float | str]]:
    """Return what tells each frame's energy window, detector and time apart."""
    marks: list[dict[str, float | str]] = [{} for _ in frames]
    for keyword, name in _NM_VECTORS.items():
        numbers = tag_floats(file.header, keyword, len(frames))
        for mark, number in zip(marks, numbers or (), strict=False):
            mark[name] = number
    return marks


def _tiles(file: DicomFile, frames: list[Frame]) -> list[Frame]:
    """Say where each tile of a whole slide lies: named for each frame, or row by row (PS3.3 C.7.6.17.3)."""
    corners = [
        tuple(
            in_groups(*frame.groups, "PlanePositionSlideSequence", f"{side}PositionInTotalImagePixelMatrix")
            for side in ("Row", "Column")
        )
        for frame in frames
    ]
    if all(None not in corner for corner in corners):
        return [
            replace(frame, corner=(int(row) - 1, int(column) - 1))
            for frame, (row, column) in zip(frames, corners, strict=True)
        ]
    if file.text("DimensionOrganizationType") != "TILED_FULL" and len(frames) > 1:
        raise ReadError("the tiles of the slide have no places (Plane Position (Slide) Sequence is missing)")
    rows, columns = frames[0].shape
    across = math.ceil(file.integer("TotalPixelMatrixColumns") / columns)
    down = math.ceil(file.integer("TotalPixelMatrixRows") / rows)
    planes = max(1, file.integer("TotalPixelMatrixFocalPlanes", 1))
    paths = max(1, file.integer("NumberOfOpticalPaths", 1))
    segments = _segments(file)
    if across * down * planes * paths * max(1, len(segments)) != len(frames):
        of = f", {len(segments)} segment(s)" if segments else ""
        raise ReadError(
            f"the slide claims {down} x {across} tiles, {planes} focal plane(s) and {paths} optical path(s){of}, "
            f"but holds {len(frames)} tiles"
        )
    tiled = []
    for number, frame in enumerate(frames):
        layer, tile = divmod(number, across * down)
        path, plane = divmod(layer, planes)
        segment, path = divmod(path, paths)
        given: dict[str, float | str] = {"optical path": float(path + 1), "focal plane": float(plane + 1)}
        if segments:
            given["segment"] = segments[segment]
        tiled.append(replace(frame, corner=(tile // across * rows, tile % across * columns), given=given))
    return tiled


def _segments(file: DicomFile) -> list[float]:
    """The segments that follow one another in tiles without places, by number; none where values are the segments."""
    if file.text("SOPClassUID") not in SEGMENTATIONS or file.text("SegmentationType").upper() == "LABELMAP":
        return []
    numbers = [tag_value(item, "SegmentNumber") for item in file.value("SegmentSequence") or ()]
    return [float(number) for number in numbers if number is not None]


def _mosaic(file: DicomFile, sheet: Frame) -> list[Frame]:
    """Cut a Siemens mosaic into slices: the file's position is that of the sheet, not of a slice."""
    with silent_libraries():
        csa = _csa(file)
    count = _mosaic_count(file, csa)
    side = math.ceil(math.sqrt(count))
    rows, columns = sheet.shape[0] // side, sheet.shape[1] // side
    if (rows * side, columns * side) != sheet.shape:
        raise ReadError(
            f"{MOSAIC}, but {count} slices do not divide {sheet.shape[0]} x {sheet.shape[1]} pixels"
        )
    corners = [(number // side * rows, number % side * columns) for number in range(count)]
    slices = [replace(sheet, shape=(rows, columns), tile=corner) for corner in corners]
    if not sheet.placed:
        return [replace(frame, height=float(number)) for number, frame in enumerate(slices)]
    first, step, notes = _mosaic_geometry(file, sheet, csa, (rows, columns))
    return [
        replace(frame, position=first + number * step, notes=notes) for number, frame in enumerate(slices)
    ]


def _mosaic_geometry(
    file: DicomFile, sheet: Frame, csa: CsaHeader | None, size: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """Return the centre of the first slice's first pixel, the step to the next slice, and what was assumed."""
    assert sheet.position is not None and sheet.directions is not None and sheet.spacing is not None
    spare = [(whole - part) / 2 for whole, part in zip(sheet.shape, size, strict=True)]
    first = (
        sheet.position
        + sheet.directions[1] * sheet.spacing[0] * spare[0]
        + sheet.directions[0] * sheet.spacing[1] * spare[1]
    )
    between = tag_floats(file.header, "SpacingBetweenSlices", 1)
    gap = between or tag_floats(file.header, "SliceThickness", 1)
    if gap is None or not 0 < gap[0] < MAX_STEP_MM:
        raise ReadError(
            f"{MOSAIC}, and the header does not say how far apart they lie (Spacing Between Slices)"
        )
    normal = _csa_values(csa, "SliceNormalVector")
    side, notes = 1.0, []
    if len(normal) == 3 and abs(np.linalg.norm(normal) - 1) < 0.05:
        side = math.copysign(1.0, float(np.dot(normal, sheet.normal)))
    else:
        notes.append(
            "the header does not say to which side the mosaic's slices follow one another (Siemens' own header is missing): "
            "they were taken to follow the normal of the first; compare with the source"
        )
    if between is None:
        notes.append(
            "the mosaic has no Spacing Between Slices: its slices were taken to touch, by Slice Thickness"
        )
    return first, sheet.normal * gap[0] * side, tuple(notes)


def _mosaic_count(file: DicomFile, csa: CsaHeader | None) -> int:
    count = _count(file, SIEMENS_MOSAIC_COUNT) or int((_csa_values(csa, "NumberOfImagesInMosaic") or [0])[0])
    if not 1 <= count <= 10_000:
        raise ReadError(
            f"{MOSAIC}, and the private elements that say how many are missing, as after de-identification: keep "
            "(0019,100A) or (0029,1010) of Siemens, or convert the original to NIfTI with dcm2niix"
        )
    return count


def _csa(file: DicomFile) -> CsaHeader | None:
    """Return what Siemens keeps in its own image header, or None."""
    found = file.private(SIEMENS_CSA)
    if not isinstance(found, bytes):
        return None
    from nibabel.nicom import csareader

    try:
        header: CsaHeader | None = csareader.read(found)
        return header
    except (*PARSER_ERRORS, csareader.CSAError):
        return None


def _csa_values(csa: CsaHeader | None, name: str) -> list[float]:
    try:
        return [float(one) for one in csa["tags"][name]["items"]] if csa else []
    except PARSER_ERRORS:
        return []

"""Segmentations: masks, label maps and fractions, on the grid of the scan they were drawn on (PS3.3 A.51, C.8.20).

A writer may leave frames out that hold nothing: they are put back, so that a mask keeps its places.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import ReadError
from medmvl.imaging.dicom_frames import Frame
from medmvl.imaging.dicom_header import DicomFile
from medmvl.imaging.dicom_marks import in_groups
from medmvl.imaging.dicom_tags import SEGMENTATIONS
from medmvl.imaging.dicom_values import tag_floats, tag_value
from medmvl.imaging.limits import check_size

OFF_GRID = 0.05
SAME_PLACE_MM = 1e-2
MAX_NAME = 64


def segmentation_type(file: DicomFile) -> str:
    """Return "BINARY", "FRACTIONAL" or "LABELMAP" for a segmentation, else an empty text."""
    if file.text("SOPClassUID") not in SEGMENTATIONS:
        return ""
    return file.text("SegmentationType").upper() or "BINARY"


def read_labels(frames: Sequence[Frame], stored: NDArray[Any]) -> tuple[NDArray[Any], str]:
    """Return labels as they are stored, or fractions of 1; and their units, "label" or "fraction".

    Raises:
        ReadError: a fraction without its maximum, or an unknown kind.
    """
    file = frames[0].file
    segmentation = segmentation_type(file)
    if segmentation == "FRACTIONAL":
        most = file.integer("MaximumFractionalValue")
        if not most > 0:
            raise ReadError(
                "the fractional segmentation has no Maximum Fractional Value: its values are not known"
            )
        if stored.size and stored.max() > most:
            raise ReadError(
                f"the fractional segmentation holds {int(stored.max())}, above its Maximum Fractional Value {most}: its "
                "values are no fractions"
            )
        return stored.astype(np.float32) / np.float32(most), "fraction"
    if segmentation not in ("BINARY", "LABELMAP"):
        raise ReadError("the segmentation is of an unknown type; expected BINARY, FRACTIONAL or LABELMAP")
    return stored, "label"


def segment_names(file: DicomFile) -> dict[int, str]:
    """Return what each segment is called, by its number."""
    names = {}
    for item in file.value("SegmentSequence") or ():
        number = tag_value(item, "SegmentNumber")
        if number is not None:
            label = re.sub(r"\s+", " ", str(tag_value(item, "SegmentLabel") or "")).strip()
            names[int(number)] = "".join(c for c in label if c.isprintable())[:MAX_NAME] or "unnamed"
    return names


def names_of(frame: Frame) -> dict[int, str] | None:
    """Return what the values of a frame's volume stand for, by value; None where it is no segmentation."""
    segmentation = segmentation_type(frame.file)
    names = segment_names(frame.file) if segmentation else {}
    if segmentation == "LABELMAP":
        return names
    number = frame.mark("segment") if segmentation else None
    return None if not segmentation else {1: names.get(int(float(number or 0)), "unnamed")}


def on_grid(frames: Sequence[Frame], whole: Sequence[Frame]) -> list[Frame]:
    """Put back the frames of one segment that the file left out, as blank ones.

    Args:
        frames: the frames that show the segment.
        whole: all frames of the object, of every segment.
    """
    normal = frames[0].normal
    along = np.array([float(frame.position @ normal) for frame in whole if frame.position is not None])
    places = _distinct(along)
    step = _step(frames[0], np.diff(places))
    wanted = places
    if step is not None:
        count = round(float(places[-1] - places[0]) / step) + 1
        check_size((count, *frames[0].shape), 1)
        wanted = np.linspace(places[0], places[-1], count)
    there = np.array([float(frame.position @ normal) for frame in frames if frame.position is not None])
    near = SAME_PLACE_MM if step is None else step / 4
    missing = [place for place in wanted if np.abs(there - place).min() > near]
    start = _lowest(whole, normal)
    return [*frames, *(_blank(frames[0], start, float(place), normal) for place in missing)]


def _distinct(along: NDArray[np.float64]) -> NDArray[np.float64]:
    ordered = np.sort(along)
    kept = np.concatenate([[True], np.diff(ordered) > SAME_PLACE_MM])
    return np.asarray(ordered[kept], dtype=np.float64)


def _step(frame: Frame, gaps: NDArray[np.float64]) -> float | None:
    """Return the step of the grid that all gaps are whole multiples of, or None."""
    if not gaps.size:
        return None
    found = in_groups(*frame.groups, "PixelMeasuresSequence", "SpacingBetweenSlices")
    stated = (
        (float(found),) if found is not None else tag_floats(frame.file.header, "SpacingBetweenSlices", 1)
    )
    for step in (*(stated or ()), float(gaps.min())):
        parts = gaps / step if step > 0 else np.array([0.5])
        if (np.abs(parts - np.round(parts)) < OFF_GRID).all() and (np.round(parts) >= 1).all():
            return step
    return None


def _lowest(frames: Sequence[Frame], normal: NDArray[np.float64]) -> Frame:
    return min(
        frames, key=lambda frame: float(frame.position @ normal) if frame.position is not None else 0.0
    )


def _blank(frame: Frame, start: Frame, place: float, normal: NDArray[np.float64]) -> Frame:
    assert start.position is not None
    position = start.position + (place - float(start.position @ normal)) * normal
    return replace(frame, position=position, blank=True)

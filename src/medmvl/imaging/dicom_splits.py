"""One stack of DICOM frames that shows places twice, split by what tells its scans apart: time, echo, order, side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import ReadError
from medmvl.imaging.dicom_frames import Frame
from medmvl.imaging.dicom_marks import CLOCKS, SETTINGS, TELLING_APART, TIME_MARKS
from medmvl.imaging.dicom_pixels import read_stack
from medmvl.imaging.dicom_separate import by_marks, height_of, interleaved, places_of, varies


def without_duplicates(frames: list[Frame]) -> tuple[list[Frame], int]:
    """Drop frames whose place, marks, rescale and pixels equal those of an earlier one."""
    places = places_of(frames)
    shared = {place for place, count in Counter(places).items() if count > 1}
    alike: dict[tuple[object, ...], list[Frame]] = {}
    for frame, place in zip(frames, places, strict=True):
        if place in shared:
            marks = tuple(frame.mark(name) for name in (*TIME_MARKS, *TELLING_APART))
            alike.setdefault((place, frame.slope, frame.intercept, marks), []).append(frame)
    dropped: set[int] = set()
    for group in alike.values():
        seen: set[bytes] = set()
        for frame in group if len(group) > 1 else ():
            pixels = read_stack([frame]).tobytes()
            if pixels in seen:
                dropped.add(id(frame))
            seen.add(pixels)
    return [frame for frame in frames if id(frame) not in dropped], len(dropped)


def split_times(frames: list[Frame]) -> list[list[Frame]]:
    """Split frames of which several show one place, by the first mark that tells them apart completely."""
    counts = Counter(places_of(frames))
    most = max(counts.values())
    if most == 1:
        return _split_interleaved(frames)
    for limit in (most, 2 * most):
        for number in range(len(TELLING_APART)):
            for marks in ((TELLING_APART[number],), TELLING_APART[: number + 1]):
                parts = _partition(frames, marks)
                if 1 < len(parts) <= limit and all(len(set(places_of(part))) == len(part) for part in parts):
                    return parts
    apart = _split_by_order(frames, most) or _split_sideways(frames)
    if apart is not None:
        return apart
    raise ReadError(
        f"{most} different slices lie at the same place and nothing in the headers (time, echo, acquisition) "
        "tells them apart: keep one set of slices in the folder"
    )


def _split_interleaved(frames: list[Frame]) -> list[list[Frame]]:
    """Split acquisitions, image types and settings that cover one stretch twice, without a place in common."""
    for mark in ("acquisition", "whole image type", "trigger time"):
        parts = _partition(frames, (mark,)) if varies(mark, frames) else [frames]
        if interleaved(parts):
            return parts
    for setting in SETTINGS:
        parts = by_marks(frames, (setting,))
        if interleaved(parts, whole=True):
            return parts
    parts = _counted_again(frames)
    return parts if interleaved(parts, whole=True) else [frames]


def _counted_again(frames: list[Frame]) -> list[list[Frame]]:
    """Split slices whose Instance Numbers were all given out as often: no scan counts its slices twice."""
    if len({id(frame.file) for frame in frames}) < len(frames):
        return [frames]
    numbered: dict[object, list[Frame]] = {}
    normal = frames[0].normal if frames[0].height is None else None
    for frame in sorted(frames, key=lambda frame: height_of(frame, normal)):
        numbered.setdefault(frame.mark("instance"), []).append(frame)
    times = len(frames) // len(numbered)
    if times < 2 or None in numbered or any(len(group) != times for group in numbered.values()):
        return [frames]
    return [[group[rank] for group in numbered.values()] for rank in range(times)]


def _split_sideways(frames: list[Frame]) -> list[list[Frame]] | None:
    """Split fields of view that lie side by side in the same planes, such as of the left and the right ear."""
    if frames[0].position is None or frames[0].directions is None or frames[0].height is not None:
        return None
    across = [frame.position @ frames[0].directions.T for frame in frames if frame.position is not None]
    parts: list[tuple[NDArray[np.float64], list[Frame]]] = []
    for frame, corner in zip(frames, across, strict=True):
        home = next((part for first, part in parts if np.abs(first - corner).max() < SIDEWAYS_MM), None)
        if home is None:
            parts.append((corner, [frame]))
        else:
            home.append(frame)
    found = [part for _, part in sorted(parts, key=lambda part: tuple(part[0]))]
    whole = len(found) > 1 and all(len(set(places_of(part))) == len(part) for part in found)
    return found if whole else None


def _partition(frames: list[Frame], marks: Sequence[str]) -> list[list[Frame]]:
    parts: dict[tuple[tuple[int, float, str], ...], list[Frame]] = {}
    for frame in frames:
        parts.setdefault(tuple(_rank(frame.mark(mark)) for mark in marks), []).append(frame)
    return [parts[key] for key in sorted(parts)]


def _rank(value: float | str | None) -> tuple[int, float, str]:
    """Order numbers as numbers and text as text; a missing value comes first."""
    if isinstance(value, str) and value.replace(".", "", 1).isdigit():
        return (1, float(value), "")
    return (0, 0.0, "") if value is None else (1, value, "") if isinstance(value, float) else (2, 0.0, value)


def _split_by_order(frames: list[Frame], most: int) -> list[list[Frame]] | None:
    """Split a dynamic scan by the order of times at each place, where each was scanned equally often."""
    places: dict[int, list[Frame]] = {}
    for frame, place in zip(frames, places_of(frames), strict=True):
        places.setdefault(place, []).append(frame)
    for mark in CLOCKS:
        times = [[_rank(frame.mark(mark)) for frame in group] for group in places.values()]
        if all(len(group) == most and len(set(group)) == most and min(group)[0] for group in times):
            ordered = [sorted(group, key=lambda f: _rank(f.mark(mark))) for group in places.values()]
            return [[group[rank] for group in ordered] for rank in range(most)]
    return None


SIDEWAYS_MM = 2.0

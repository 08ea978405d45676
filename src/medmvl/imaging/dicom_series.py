"""Which frames belong together: frames split into series that are each one volume, one picture or one cine.

Frames of one series that differ in shape, orientation or spacing are split; so are several pictures of one place
(times, echoes, acquisitions). Duplicates are dropped. Lists name numbers, modality and sizes, never identity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from medmvl.errors import AmbiguousSourceError, ReadError
from medmvl.imaging.dicom_decode import decode_frames
from medmvl.imaging.dicom_frames import TELLING_APART, Frame
from medmvl.imaging.dicom_geometry import along_normal, plane_of
from medmvl.imaging.dicom_pixels import is_colour
from medmvl.imaging.selector import Selector, pick

SAME_PLACE_MM = 1e-2
LISTED = 30
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True, eq=False)
class Series:
    """Frames that are read together."""

    kind: Literal["volume", "image", "frames"]
    frames: tuple[Frame, ...]
    origin: int
    """Series it was split from, so that its times can be told from other series."""
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Describe it for a list: modality, number of slices or frames, size, plane."""
        first = self.frames[0]
        size = f"{first.shape[0]} x {first.shape[1]}"
        modality = first.file.modality or "unknown modality"
        if self.kind == "image":
            return f"{modality}, one image {size}" + (f", {plane_of(first)}" if first.placed else "")
        if self.kind == "frames":
            return f"{modality}, {len(self.frames)} frames of {size}"
        return f"{modality}, {len(self.frames)} slices of {size}, {plane_of(first)}"


def group_frames(frames: Sequence[Frame]) -> list[Series]:
    """Return the series of a file or folder in a stable order, scouts and screen captures included."""
    clusters: list[list[Frame]] = []
    by_uid: dict[tuple[object, ...], list[list[Frame]]] = {}
    for frame in frames:
        candidates = by_uid.setdefault(_series_key(frame), [])
        home = next((cluster for cluster in candidates if _belongs(frame, cluster[0])), None)
        if home is None:
            candidates.append([frame])
            clusters.append(candidates[-1])
        else:
            home.append(frame)
    clusters.sort(
        key=lambda cluster: (
            _series_number(cluster[0]),
            str(cluster[0].file.value("SeriesInstanceUID") or ""),
        )
    )
    return [part for number, cluster in enumerate(clusters) for part in _split(cluster, number)]


def set_aside(series: list[Series]) -> tuple[list[Series], tuple[str, ...]]:
    """Take scouts and screen captures out where something else is there; returns the rest and a note."""
    scouts = [s for s in series if s.frames[0].localizer]
    captures = [
        s
        for s in series
        if str(s.frames[0].file.value("SOPClassUID") or "").startswith(SECONDARY_CAPTURE) and s not in scouts
    ]
    rest = [s for s in series if s not in scouts and s not in captures]
    if not rest:
        return series, ()
    named = (("scout (localizer) series", scouts), ("screen capture(s)", captures))
    return rest, tuple(f"{len(found)} {name} set aside" for name, found in named if found)


def choose(series: list[Series], selector: Selector, name: str) -> Series:
    """Return the series or frame that the selector means.

    Args:
        series: what was found.
        selector: what the user asked for.
        name: "folder" or "file", for the message.

    Raises:
        AmbiguousSourceError: several are there and none was chosen; the message lists them.
    """
    chosen = series
    if selector.series is not None:
        chosen = [series[pick(selector.series, len(series), "series")]]
    if selector.time is not None:
        if len({one.origin for one in chosen}) != 1 or len(series) == 1:
            raise ReadError(
                f"#time={selector.time} was asked for, but there are no times to choose: use #series=N"
            )
        siblings = [one for one in series if one.origin == chosen[0].origin]
        chosen = [siblings[pick(selector.time, len(siblings), "time")]]
    if len(chosen) > 1:
        lines = [f"  {number}: {one}" for number, one in enumerate(chosen[:LISTED], 1)]
        more = [f"  and {len(chosen) - LISTED} more"] if len(chosen) > LISTED else []
        head = (
            f"{len(chosen)} images or series; choose one by adding #series=N to the path ({name}#series=2):"
        )
        raise AmbiguousSourceError("\n".join([head, *lines, *more]))
    return _choose_frame(chosen[0], selector, name)


def _choose_frame(series: Series, selector: Selector, name: str) -> Series:
    if selector.frame is not None:
        frame = series.frames[pick(selector.frame, len(series.frames), "frame")]
        return replace(series, kind="image", frames=(frame,))
    if series.kind == "frames":
        prefix = "" if selector.series is None else f"#series={selector.series}"
        raise AmbiguousSourceError(
            f"these are frames, not a volume: {series}; choose one by adding #frame=N to the path "
            f"({name}{prefix}#frame=3)"
        )
    return series


def _series_key(frame: Frame) -> tuple[object, ...]:
    file = frame.file
    loose: object = (id(file), frame.index if frame.placed else 0) if not frame.placed else None
    uid = str(file.value("SeriesInstanceUID") or "")
    return (
        uid,
        file.modality,
        frame.shape,
        is_colour(file),
        frame.localizer,
        file.value("SOPClassUID"),
        loose,
    )


def _belongs(frame: Frame, first: Frame) -> bool:
    if not frame.placed:
        return frame.file is first.file
    assert frame.directions is not None and first.directions is not None
    assert frame.spacing is not None and first.spacing is not None
    return bool(
        np.allclose(frame.directions, first.directions, atol=5e-3)
        and np.allclose(frame.spacing, first.spacing, rtol=1e-3)
    )


def _series_number(frame: Frame) -> int:
    return frame.file.integer("SeriesNumber", 2**31)


def _split(frames: list[Frame], origin: int) -> list[Series]:
    if not frames[0].placed:
        kind: Literal["image", "frames"] = "image" if len(frames) == 1 else "frames"
        return [Series(kind, tuple(frames), origin)]
    places = _places(frames)
    one_file = len({id(frame.file) for frame in frames}) == 1
    if len(frames) > 1 and len(set(places)) == 1 and one_file:
        return [Series("frames", tuple(frames), origin)]
    frames, dropped = _without_duplicates(frames, places)
    note = (f"{dropped} slice(s) that repeat another one exactly were dropped",) if dropped else ()
    parts = _split_times(frames)
    return [_stack(part, origin, note) for part in parts]


def _stack(frames: list[Frame], origin: int, notes: tuple[str, ...]) -> Series:
    normal = frames[0].normal
    ordered = tuple(sorted(frames, key=lambda frame: along_normal(frame, normal)))
    return Series("volume" if len(ordered) > 1 else "image", ordered, origin, notes)


def _places(frames: Sequence[Frame]) -> list[int]:
    """Number the places along the normal: frames nearer than a hundredth of a millimetre share one."""
    along = np.array([along_normal(frame, frames[0].normal) for frame in frames])
    order = np.argsort(along, kind="stable")
    numbers = np.zeros(len(frames), int)
    numbers[order[1:]] = np.cumsum(np.diff(along[order]) > SAME_PLACE_MM)
    return [int(n) for n in numbers]


def _without_duplicates(frames: list[Frame], places: list[int]) -> tuple[list[Frame], int]:
    """Drop frames whose place, rescale and pixels equal those of an earlier one."""
    shared = {place for place, count in Counter(places).items() if count > 1}
    seen: set[tuple[object, ...]] = set()
    kept = []
    for frame, place in zip(frames, places, strict=True):
        if place in shared:
            pixels = next(iter(decode_frames(frame.file, [frame.index])))
            key = (
                place,
                frame.slope,
                frame.intercept,
                hash(pixels.tobytes()),
                frame.marks.get("TemporalPositionIdentifier"),
            )
            if key in seen:
                continue
            seen.add(key)
        kept.append(frame)
    return kept, len(frames) - len(kept)


def _split_times(frames: list[Frame]) -> list[list[Frame]]:
    """Split frames of which several show one place, by the first mark that tells them apart completely."""
    most = max(Counter(_places(frames)).values())
    if most == 1:
        return [frames]
    for limit in (most, 2 * most):
        for number in range(len(TELLING_APART)):
            for marks in ((TELLING_APART[number],), TELLING_APART[: number + 1]):
                parts = _partition(frames, marks)
                if 1 < len(parts) <= limit and all(len(set(_places(part))) == len(part) for part in parts):
                    return parts
    ranked = _split_by_clock(frames, most)
    if ranked is not None:
        return ranked
    raise ReadError(
        f"{most} different slices lie at the same place and nothing in the headers (time, echo, acquisition) "
        "tells them apart: keep one set of slices in the folder"
    )


def _partition(frames: list[Frame], marks: Sequence[str]) -> list[list[Frame]]:
    parts: dict[tuple[str, ...], list[Frame]] = {}
    for frame in frames:
        parts.setdefault(tuple(str(frame.marks.get(mark, "")) for mark in marks), []).append(frame)
    return [parts[key] for key in sorted(parts, key=_natural)]


def _natural(key: tuple[str, ...]) -> list[tuple[int, float, str]]:
    """Order numbers as numbers and text as text."""
    return [(0, float(part), "") if part.replace(".", "", 1).isdigit() else (1, 0.0, part) for part in key]


def _split_by_clock(frames: list[Frame], most: int) -> list[list[Frame]] | None:
    """Split a dynamic scan by the order of times at each place, where each was scanned equally often."""
    places: dict[int, list[Frame]] = {}
    for frame, place in zip(frames, _places(frames), strict=True):
        places.setdefault(place, []).append(frame)
    for mark in ("FrameReferenceTime", "TriggerTime", "AcquisitionTime", "ContentTime"):
        times = [[str(frame.marks.get(mark, "")) for frame in group] for group in places.values()]
        if all(len(group) == most and len(set(group)) == most and "" not in group for group in times):
            ordered = [
                sorted(group, key=lambda f: _natural((str(f.marks[mark]),))) for group in places.values()
            ]
            return [[group[rank] for group in ordered] for rank in range(most)]
    return None

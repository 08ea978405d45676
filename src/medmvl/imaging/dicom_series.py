"""Which frames belong together: frames split into series that are each one volume, one image or one cine.

A series is one scan. Frames of one Series UID that differ in patient, study, plane, reconstruction or type of values are
split; so are several images of one place (times, echoes). Duplicates are dropped. Lists never show identity.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from medmvl.errors import AmbiguousSourceError, Choice, ReadError
from medmvl.imaging.dicom_frames import Frame
from medmvl.imaging.dicom_geometry import plane_of
from medmvl.imaging.dicom_labels import names_of, on_grid, segmentation_type
from medmvl.imaging.dicom_listing import tell_apart
from medmvl.imaging.dicom_marks import SCAN_MARKS, TIME_MARKS
from medmvl.imaging.dicom_meaning import SECONDARY_CAPTURE
from medmvl.imaging.dicom_pixels import is_colour
from medmvl.imaging.dicom_separate import by_identity, by_marks, height_of, places_of
from medmvl.imaging.dicom_slides import WHOLE_SLIDE, fits_in_one, is_slide_label
from medmvl.imaging.dicom_splits import split_times, without_duplicates
from medmvl.imaging.dicom_unplaced import (
    SECTIONS,
    heights,
    place_faults,
    stackable,
    why_no_volume,
    without_places,
)
from medmvl.imaging.selector import DIGEST_DIGITS, Selector, pick
from medmvl.messages import first_of

LISTED = 30
SeriesType = Literal["volume", "image", "frames", "stack", "slide"]


@dataclass(frozen=True, eq=False)
class Series:
    """Frames that are read together."""

    series_type: SeriesType
    """A stack is a volume whose place in the patient is unknown; a slide is one image made of tiles."""
    frames: tuple[Frame, ...]
    origin: int
    """Index of the scan; its time points share it."""
    warnings: tuple[str, ...] = ()
    apart: str = ""
    """Words that distinguish it from series with the same description."""

    def __str__(self) -> str:
        """Describe it for a list: modality, number of slices or frames, size, plane, and what tells it apart."""
        return self.plain + (f", {self.apart}" if self.apart else "")

    @property
    def digest(self) -> str:
        """What the series is made of, as digits that no other has, wherever it lies; another slice makes another digest."""
        parts = sorted(
            f"{frame.file.text('SOPInstanceUID') or frame.file.path.name} {frame.index}"
            for frame in self.frames
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:DIGEST_DIGITS]

    @property
    def plain(self) -> str:
        """Modality, number of slices or frames, size and plane."""
        first = self.frames[0]
        size = f"{first.shape[0]} x {first.shape[1]}"
        names = names_of(first)
        modality = first.file.modality or "unknown modality"
        if names is not None and len(names) == 1:
            modality += f", segment {next(iter(names.values()))!r}"
        if self.series_type == "image":
            faults = place_faults(first) if first.file.modality in SECTIONS else []
            where = plane_of(first) if first.placed else " and ".join(faults)
            return f"{modality}, one image {size}" + (f", {where}" if where else "")
        if self.series_type == "slide":
            file = first.file
            whole = f"{file.integer('TotalPixelMatrixRows')} x {file.integer('TotalPixelMatrixColumns')}"
            return f"{modality}, one image {whole} of {len(self.frames)} tiles"
        if self.series_type == "frames":
            return f"{modality}, {len(self.frames)} frames of {size}"
        return f"{modality}, {len(self.frames)} slices of {size}, {plane_of(first) if first.placed else 'plane unknown'}"


def group_frames(frames: Sequence[Frame]) -> list[Series]:
    """Return the series of a file or folder in an order that headers decide, scouts and screen captures included."""
    groups: dict[tuple[object, ...], list[Frame]] = {}
    for frame in sorted(frames, key=_content_order):
        groups.setdefault(_series_key(frame), []).append(frame)
    scans = [
        scan
        for group in groups.values()
        for known in by_identity(group)
        for plane in _by_plane(known)
        for scan in by_marks(plane, SCAN_MARKS)
    ]
    scans.sort(key=lambda scan: (_series_number(scan[0]), scan[0].file.text("SeriesInstanceUID")))
    return tell_apart([part for number, scan in enumerate(scans) for part in _split(scan, number, frames)])


def set_aside(series: list[Series]) -> tuple[list[Series], tuple[str, ...]]:
    """Take scouts, screen captures and slide labels out where something else is there; returns the rest and a note."""
    scouts = [s for s in series if s.frames[0].localizer]
    captures = [
        s
        for s in series
        if s.frames[0].file.text("SOPClassUID").startswith(SECONDARY_CAPTURE)
        and not s.frames[0].file.text("SOPClassUID").startswith(WHOLE_SLIDE)
        and s not in scouts
    ]
    labels = [s for s in series if is_slide_label(s.frames[0].file)]
    rest = [s for s in series if s not in scouts and s not in captures and s not in labels]
    if not rest:
        return series, ()
    named = (
        ("scout (localizer) series", scouts),
        ("screen capture(s)", captures),
        ("label or overview image(s) of a slide", labels),
    )
    return rest, tuple(f"{len(found)} {name} set aside" for name, found in named if found)


def choose(series: list[Series], selector: Selector, name: str) -> Series:
    """Return the series or frame that the selector means.

    Args:
        series: what was found.
        selector: what the user asked for.
        name: "folder" or "file", for the message.

    Raises:
        AmbiguousSourceError: several are there and none was chosen; the message lists them.
        ReadError: the one that was chosen is not there.
    """
    chosen = series
    if isinstance(selector.series, str):
        chosen = [one for one in series if one.digest == selector.series]
        if not chosen:
            raise ReadError(f"no series here is {selector.series}; there are:\n  {_listed(series)}")
    elif selector.series is not None:
        chosen = [series[pick(selector.series, len(series), "series")]]
    if selector.time is not None:
        if len({one.origin for one in chosen}) != 1 or len(series) == 1:
            instead = ": choose a series" if len(series) > 1 else ""
            raise ReadError(f"time {selector.time} was asked for, but there are no times to choose{instead}")
        siblings = [one for one in series if one.origin == chosen[0].origin]
        chosen = [siblings[pick(selector.time, len(siblings), "time")]]
    if len(chosen) > 1:
        raise AmbiguousSourceError(
            f"{len(chosen)} images or series",
            Choice("series", len(chosen), place=name),
            f":\n  {_listed(chosen)}",
        )
    return _choose_frame(chosen[0], selector, name)


def _listed(series: Sequence[Series]) -> str:
    lines = [f"{number} or {one.digest}: {one}" for number, one in enumerate(series, 1)]
    return first_of(lines, LISTED, separator="\n  ")


def _choose_frame(series: Series, selector: Selector, name: str) -> Series:
    if selector.frame is not None:
        frame = series.frames[pick(selector.frame, len(series.frames), "frame")]
        return replace(series, series_type="image", frames=(frame,))
    if series.series_type == "frames":
        raise AmbiguousSourceError(
            f"these are frames, not a volume: {series}{why_no_volume(series.frames)}",
            Choice("frame", len(series.frames), already=str(selector), place=name),
        )
    return series


def _content_order(frame: Frame) -> tuple[object, ...]:
    """Order frames by what their headers say; the name of the file decides only between what is equal in all of it."""
    place = () if frame.position is None else tuple(float(part) for part in frame.position)
    file = frame.file
    return (
        _series_number(frame), file.text("SeriesInstanceUID"), file.integer("InstanceNumber", 2**31), place,
        file.text("SOPInstanceUID"), frame.index, frame.tile or (), str(file.path),
    )  # fmt: skip


def _series_key(frame: Frame) -> tuple[object, ...]:
    file = frame.file
    together = frame.placed or stackable(frame)
    return (
        file.text("SeriesInstanceUID"), file.modality, frame.shape, is_colour(file), frame.localizer,
        file.text("SOPClassUID"), frame.placed, None if together and not segmentation_type(file) else id(file),
    )  # fmt: skip


def _by_plane(frames: list[Frame]) -> list[list[Frame]]:
    planes: list[list[Frame]] = []
    for frame in frames:
        home = next((plane for plane in planes if _same_plane(frame, plane[0])), None)
        if home is None:
            planes.append([frame])
        else:
            home.append(frame)
    return planes


def _same_plane(frame: Frame, first: Frame) -> bool:
    return _near(frame.directions, first.directions, 5e-3, 0.0) and _near(
        frame.spacing, first.spacing, 0.0, 1e-3
    )


def _near(one: ArrayLike | None, other: ArrayLike | None, absolute: float, relative: float) -> bool:
    if one is other or (isinstance(one, tuple) and one == other):
        return True
    if one is None or other is None:
        return False
    return bool(np.allclose(one, other, atol=absolute, rtol=relative))


def _series_number(frame: Frame) -> int:
    return frame.file.integer("SeriesNumber", 2**31)


def _split(frames: list[Frame], origin: int, everything: Sequence[Frame]) -> list[Series]:
    one_file = len({id(frame.file) for frame in frames}) == 1
    notes: tuple[str, ...] = ()
    if segmentation_type(frames[0].file) and frames[0].placed:
        whole = [frame for frame in everything if frame.file is frames[0].file and frame.placed]
        return [_stack(on_grid(frames, whole), origin, ())]
    if not frames[0].placed or _all_at_one_place(frames):
        raised = None if one_file and frames[0].tile is None else heights(frames)
        if raised is None and (one_file or not frames[0].placed):
            return _images(frames, origin)
        if raised is not None:
            frames, notes = raised, without_places(raised)
    elif len(frames) > 1 and len(set(places_of(frames))) == 1 and one_file:
        return _images(frames, origin)
    kept, dropped = without_duplicates(frames)
    note = (f"{dropped} slice(s) that repeat another one exactly were dropped",) if dropped else ()
    parts = [part for time in by_marks(kept, TIME_MARKS) for part in split_times(time)]
    return [_stack(part, origin, (*notes, *note)) for part in parts]


def _all_at_one_place(frames: Sequence[Frame]) -> bool:
    return len(frames) > 1 and len(set(places_of(frames))) == 1


def _images(frames: list[Frame], origin: int) -> list[Series]:
    """Return frames of one file as they are, and files one by one."""
    by_file: dict[int, list[Frame]] = {}
    for frame in frames:
        by_file.setdefault(id(frame.file), []).append(frame)
    found = []
    for own in by_file.values():
        series_type: SeriesType = "image" if len(own) == 1 else "frames"
        found.append(Series("slide" if fits_in_one(own) else series_type, tuple(own), origin))
    return found


def _stack(frames: list[Frame], origin: int, notes: tuple[str, ...]) -> Series:
    normal = frames[0].normal if frames[0].height is None else None
    ordered = tuple(sorted(frames, key=lambda frame: height_of(frame, normal)))
    volume: SeriesType = "volume" if frames[0].height is None else "stack"
    return Series(volume if len(ordered) > 1 else "image", ordered, origin, notes)

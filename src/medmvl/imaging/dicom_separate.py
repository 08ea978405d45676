"""Separating: frames that differ in a mark of their scan are separated by their headers, never by the order of files."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from medmvl.imaging.dicom_frames import Frame
from medmvl.imaging.dicom_marks import MARKS, same_raw
from medmvl.imaging.dicom_tags import ACQUISITION_DAY, IDENTITY

SAME_PLACE_MM = 1e-2
FULL_COVER = 1.05
"""A stack whose slices are at most this much of a thickness apart leaves no room for another between them."""
_IDENTITY = tuple((name, keyword) for name, keywords in IDENTITY.items() for keyword in keywords)
_MUST_AGREE = ("PatientID", "StudyInstanceUID")
"""A file without one of these is no slice of a scan that has it."""


def height_of(frame: Frame, normal: NDArray[np.float64] | None) -> float:
    """Return what orders a frame in its stack: its position along a normal, or what stands in for it."""
    if frame.height is not None:
        return frame.height
    assert frame.position is not None and normal is not None
    return float(frame.position @ normal)


def places_of(frames: Sequence[Frame]) -> list[int]:
    """Number the places along the normal: frames nearer than a hundredth of a millimetre share one."""
    normal = frames[0].normal if frames[0].height is None else None
    along = np.array([height_of(frame, normal) for frame in frames])
    order = np.argsort(along, kind="stable")
    numbers = np.zeros(len(frames), int)
    numbers[order[1:]] = np.cumsum(np.diff(along[order]) > SAME_PLACE_MM)
    return [int(n) for n in numbers]


def by_identity(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Separate frames of different patients, studies, frames of reference and descriptions."""
    groups = [list(frames)]
    for at, (name, keyword) in enumerate(_IDENTITY):
        if name != ACQUISITION_DAY and len({frame.file.identity[at] for frame in frames}) > 1:
            silent = 0 if keyword in _MUST_AGREE else None
            groups = [
                part
                for group in groups
                for part in _parted(
                    group, [_known(frame, at, silent) for frame in group], name == "description"
                )
            ]
    return groups


def _known(frame: Frame, at: int, silent: int | None) -> Hashable:
    number = frame.file.identity[at] or silent
    return None if number is None else (number,)


def by_marks(frames: Sequence[Frame], names: Sequence[str]) -> list[list[Frame]]:
    """Separate frames that differ in any of these marks; parts are ordered by the marks."""
    groups = [list(frames)]
    for name in names:
        if varies(name, frames):
            groups = [part for group in groups for part in _by_mark(group, name)]
    return groups


def varies(name: str, frames: Sequence[Frame]) -> bool:
    """Whether frames may differ in a mark; cheap, and never False where they do."""
    files = list({id(frame.file): frame.file for frame in frames}.values())
    if any(frame.given or frame.groups[0] or frame.groups[1] for frame in frames):
        return len({frame.mark(name) for frame in frames}) > 1
    return not same_raw(name, files)


def interleaved(parts: Sequence[Sequence[Frame]], *, whole: bool = False) -> bool:
    """Whether parts are stacks that each cover the same stretch by themselves, so that together they are none.

    Args:
        parts: at least two, of at least two frames each.
        whole: it is known that each part is complete, also where another would fit between its slices; they then take
            turns at equal steps.
    """
    if len(parts) < 2 or any(len(part) < 2 for part in parts):
        return False
    normal = parts[0][0].normal if parts[0][0].height is None else None
    along = [np.sort([height_of(frame, normal) for frame in part]) for part in parts]
    if any(np.ptp(np.diff(one)) > 0.05 * np.diff(one).mean() for one in along):
        return False
    low, high = max(one[0] for one in along), min(one[-1] for one in along)
    if high - low < 0.5 * min(one[-1] - one[0] for one in along):
        return False
    gaps = np.diff(np.sort(np.concatenate(along)))
    thickness = parts[0][0].thickness
    uneven = np.ptp(gaps) > 0.1 * float(np.median(gaps))
    steps = [np.diff(one).mean() for one in along]
    taking_turns = whole and np.ptp(steps) <= 0.05 * max(steps)
    return bool(taking_turns or uneven or all(np.diff(one).mean() <= FULL_COVER * thickness for one in along))


def _by_mark(frames: list[Frame], name: str) -> list[list[Frame]]:
    values = [frame.mark(name) for frame in frames]
    return _parted(frames, _classes(values, name), MARKS[name].varies)


def _classes(values: Sequence[float | str | None], name: str) -> list[Hashable]:
    """Number the values in order; numbers nearer than the mark's tolerance share one."""
    numbers = sorted({value for value in values if isinstance(value, float)})
    texts = sorted({value for value in values if isinstance(value, str)})
    ranks: dict[float | str, int] = {}
    rank = -1
    for at, number in enumerate(numbers):
        near = max(MARKS[name].absolute, MARKS[name].relative * abs(number))
        rank += at == 0 or number - numbers[at - 1] > near
        ranks[number] = rank
    ranks |= {text: rank + 1 + at for at, text in enumerate(texts)}
    return [None if value is None else ranks[value] for value in values]


def _parted(frames: list[Frame], classes: Sequence[Hashable], per_slice: bool) -> list[list[Frame]]:
    """Split by classes: numbers in their order, others as they first come.

    Frames without one join the only class there is where they fill its gaps. Where nearly every slice has a class of its
    own, it is no mark of a scan.
    """
    parts: dict[Hashable, list[Frame]] = {}
    for frame, one in zip(frames, classes, strict=True):
        parts.setdefault(one, []).append(frame)
    known = [one for one in parts if one is not None]
    if len(known) < 2 and (len(parts) == 1 or _fill(parts[known[0]], parts[None])):
        return [frames]
    if per_slice and len(frames) > 2 and 2 * len(known) > len(frames) and len(set(_safe_places(frames))) > 1:
        return [frames]
    if all(isinstance(one, int) for one in known):
        known = sorted(known, key=lambda one: int(str(one)))
    return [parts[one] for one in (*known, *([None] if None in parts else []))]


def _fill(known: Sequence[Frame], silent: Sequence[Frame]) -> bool:
    """Whether frames that are silent on a mark look like slices of the others that lost it."""
    if 2 * len(silent) >= len(known):
        return False
    places = _safe_places([*known, *silent])
    return not set(places[: len(known)]) & set(places[len(known) :])


def _safe_places(frames: Sequence[Frame]) -> list[int]:
    """Places, where the files say them; else every frame has one of its own."""
    if all(frame.placed or frame.height is not None for frame in frames):
        return places_of(frames)
    return list(range(len(frames)))

"""Slices whose place in the patient the file does not say: a stack in the order of what is left, and a warning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from medmvl.imaging.dicom_frames import Frame
from medmvl.imaging.dicom_place_tags import ORIENTATION, POSITION, SPACING, Place, fault, unit_directions
from medmvl.imaging.dicom_values import stated_floats, tag_floats, tag_value

SECTIONS = ("CT", "MR", "PT")
"""Modalities whose single images are slices of something."""


def stackable(frame: Frame) -> bool:
    """Whether an image without a place is a slice that may belong to others of its series."""
    whole = frame.file.integer("NumberOfFrames", 1) <= 1
    return not frame.placed and whole and frame.file.modality in SECTIONS and not frame.localizer


def heights(frames: Sequence[Frame]) -> list[Frame] | None:
    """Return the frames with what orders them: Slice Location, else the position's longest axis, else Instance Number.

    Returns:
        None where nothing orders them, or a single image is given.
    """
    if len(frames) < 2 or any(frame.localizer for frame in frames):
        return None
    if all(frame.tile is not None for frame in frames) and all(frame.height is not None for frame in frames):
        return list(frames)
    for found in (_locations(frames), _longest_axis(frames), _instances(frames)):
        if found is not None:
            return [replace(frame, height=height) for frame, height in zip(frames, found, strict=True)]
    return None


def _locations(frames: Sequence[Frame]) -> list[float] | None:
    found = [tag_floats(frame.file.header, "SliceLocation", 1) for frame in frames]
    numbers = [one[0] for one in found if one is not None]
    return numbers if len(numbers) == len(frames) and len(set(numbers)) > 1 else None


def _longest_axis(frames: Sequence[Frame]) -> list[float] | None:
    places = np.array([frame.position for frame in frames if frame.position is not None])
    if len(places) != len(frames):
        return None
    axis = int(np.ptp(places, axis=0).argmax())
    numbers = [float(place[axis]) for place in places]
    return numbers if len(set(numbers)) > 1 else None


def _instances(frames: Sequence[Frame]) -> list[float] | None:
    """Instance Numbers, for slices without a position only: those at one place are times or echoes."""
    if any(frame.placed for frame in frames):
        return None
    found = [frame.mark("instance") for frame in frames]
    numbers = [one for one in found if isinstance(one, float)]
    return numbers if len(set(numbers)) == len(frames) else None


def place_faults(frame: Frame) -> list[str]:
    """Return why an image is not placed: `no TAG`, or what is wrong with one that is there."""
    named = ((POSITION, frame.position), (ORIENTATION, frame.directions), (SPACING, frame.spacing))
    lacking = [(place, _stated(frame, place)) for place, found in named if found is None]
    if (
        frame.file.modality == "NM"
        and lacking
        and all(_is_sound(place, numbers) for place, numbers in lacking)
    ):
        return ["no Slice Vector of reconstructed slices that says which frame lies where"]
    return [fault(place, numbers) for place, numbers in lacking]


def _is_sound(place: Place, numbers: tuple[float, ...]) -> bool:
    """Whether a tag says a place, though it is not said to which frames it applies."""
    finite = len(numbers) == place.num_values and all(abs(number) < 1e30 for number in numbers)
    return finite and (place is not ORIENTATION or unit_directions(numbers) is not None)


def _stated(frame: Frame, place: Place) -> tuple[float, ...]:
    """Return the numbers of a tag as the file has them, right or wrong."""
    detector = "DetectorInformationSequence"
    holders = [tag_value(groups, place.group) for groups in frame.groups]
    holders += [tag_value(frame.file.header, detector) if frame.file.modality == "NM" else None]
    sources = [*(items[0] for items in holders if items), frame.file.header]
    return next(filter(None, (stated_floats(source, place.keyword) for source in sources)), ())


def without_places(frames: Sequence[Frame]) -> tuple[str, ...]:
    """Return the warnings for a stack of unknown orientation."""
    faults = place_faults(frames[0])
    by = (
        "Slice Location"
        if _locations(frames)
        else "their positions"
        if _longest_axis(frames)
        else "Instance Number"
    )
    lacking = f"have {' and '.join(faults)}" if faults else "all have the same Image Position (Patient)"
    notes = [
        f"the slices {lacking}: they are stacked by {by}, and where they lie is not known",
        "the orientation is unknown: the array keeps the file's order (slices, rows, columns); "
        "if you know it, declare axcodes (and spacing_mm)",
    ]
    if stack_spacing(frames) is None:
        notes.append("the spacing is unknown: sizes in the patient cannot be told")
    return tuple(notes)


def stack_spacing(frames: Sequence[Frame]) -> tuple[float, float, float] | None:
    """Return (slices, rows, columns) in millimetres as far as the file says all three."""
    first = frames[0]
    if first.spacing is None:
        return None
    gap = tag_floats(first.file.header, "SpacingBetweenSlices", 1)
    if _locations(frames) or _longest_axis(frames):
        along = np.sort([frame.height for frame in frames if frame.height is not None])
        steps = np.diff(along)
        gap = (float(np.median(steps[steps > 1e-2])),) if (steps > 1e-2).any() else gap
    return None if gap is None or not gap[0] > 0 else (gap[0], *first.spacing)


def uneven(frames: Sequence[Frame]) -> tuple[str, ...]:
    """Warn where the slices of a stack of unknown orientation are not equally far apart."""
    spacing = stack_spacing(frames)
    gaps = np.diff(np.sort([frame.height for frame in frames if frame.height is not None]))
    if spacing is None or (np.abs(gaps - spacing[0]) <= max(0.05, 0.01 * spacing[0])).all():
        return ()
    return (
        f"uneven gaps between slices ({gaps.min():.3g} to {gaps.max():.3g} mm, median {spacing[0]:.3g} mm)",
    )


def why_no_volume(frames: Sequence[Frame]) -> str:
    """Say, for the frames of a sectional modality, what is wrong with the tags that would have made them a volume."""
    faults = place_faults(frames[0])
    if len(frames) < 2 or frames[0].file.modality not in (*SECTIONS, "NM", "RTDOSE", "SEG"):
        return ""
    if not faults and len({tuple(frame.position) for frame in frames if frame.position is not None}) == 1:
        return "; they all have one Image Position (Patient), so how far apart they lie, and in which order, is unknown"
    if not faults:
        return ""
    return f"; they have {' and '.join(faults)}, so how they lie is unknown"

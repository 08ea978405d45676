"""From the places of slices to an affine: sorted by position along the normal, never by instance number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from medmvl.imaging.dicom_frames import Frame
from medmvl.imaging.geometry import axcodes_of
from medmvl.imaging.image import CANONICAL_VOLUME_AXES
from medmvl.messages import first_of

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])
PLANES = ("sagittal", "coronal", "axial")
GAP_TOLERANCE = 0.01
GAP_TOLERANCE_MM = 0.05
TILT_TOLERANCE_DEGREES = 3.0


class Stack(NamedTuple):
    """Geometry of sorted slices: affine of `(slice, row, column, 1)` to RAS+ mm, and the true places where uneven."""

    affine: NDArray[np.float64]
    positions: NDArray[np.float64] | None
    """Positions where gaps are uneven: `(slices, 3)`, the centre of each slice's first pixel in RAS+ millimetres."""
    warnings: tuple[str, ...]


def plane_of(frame: Frame) -> str:
    """Return the body plane nearest to a frame's plane, or "unknown plane"."""
    return PLANES[int(np.abs(frame.normal).argmax())] if frame.directions is not None else "unknown plane"


def _contradicted_tilt(frame: Frame) -> tuple[str, ...]:
    """Warn where Gantry/Detector Tilt says another angle than the planes of an axial CT have (PS3.3 C.8.2.1.1.3)."""
    said = frame.mark("tilt")
    if frame.file.modality != "CT" or not isinstance(said, float) or plane_of(frame) != "axial":
        return ()
    tilted = float(np.degrees(np.arccos(np.clip(np.hypot(frame.normal[2], frame.normal[0]), 0, 1))))
    if abs(said) <= TILT_TOLERANCE_DEGREES or abs(abs(said) - tilted) <= TILT_TOLERANCE_DEGREES:
        return ()
    return (
        f"Gantry/Detector Tilt says {said:g} degrees and the planes are tilted by {tilted:.0f}: the planes were taken; either "
        "the tilt was undone, or the orientation was lost and anatomy is sheared",
    )


def stack_geometry(frames: Sequence[Frame]) -> Stack:
    """Return the geometry of at least two slices sorted along their normal.

    The step between slices is taken from their places, so a tilted gantry gives the exact sheared affine.
    """
    places = np.array([frame.position for frame in frames]) @ LPS_TO_RAS
    normal = frames[0].normal @ LPS_TO_RAS
    gaps = np.diff(places @ normal)
    typical = float(np.median(gaps))
    off = np.abs(gaps - typical)
    uneven = bool(((off > GAP_TOLERANCE * typical) & (off > GAP_TOLERANCE_MM)).any())
    step = (places[-1] - places[0]) / gaps.sum() * (typical if uneven else gaps.mean())
    backwards = axcodes_of(_affine(frames[0], step, places[0]))[0] not in CANONICAL_VOLUME_AXES
    along = places @ (-normal if backwards else normal)
    warnings = _gap_warnings(gaps, typical, along) if uneven else ()
    straight = places[0] + np.outer((places - places[0]) @ normal, step / (step @ normal))
    warnings = (*warnings, *_contradicted_tilt(frames[0]))
    drift = float(np.abs(places - straight).max())
    if drift > max(0.5, 0.05 * typical):
        warnings = (
            *warnings,
            f"slices are shifted sideways by up to {drift:.1f} mm against a straight stack",
        )
    # An uneven stack can be right at one end only: the end that becomes slice 0 of the canonical order.
    origin = places[-1] - step * (len(places) - 1) if backwards else places[0]
    return Stack(_affine(frames[0], step, origin), places if uneven else None, warnings)


def single_affine(frame: Frame) -> NDArray[np.float64]:
    """Return the affine of one placed image; its first column is the normal times the slice thickness."""
    assert frame.position is not None
    return _affine(frame, LPS_TO_RAS @ frame.normal * frame.thickness, LPS_TO_RAS @ frame.position)


def _affine(frame: Frame, step: NDArray[np.float64], origin: NDArray[np.float64]) -> NDArray[np.float64]:
    assert frame.directions is not None and frame.spacing is not None
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = LPS_TO_RAS @ frame.directions[1] * frame.spacing[0]
    affine[:3, 2] = LPS_TO_RAS @ frame.directions[0] * frame.spacing[1]
    affine[:3, 3] = origin
    return affine


def _gap_warnings(gaps: NDArray[np.float64], typical: float, along: NDArray[np.float64]) -> tuple[str, ...]:
    holes = [int(at) for at in np.flatnonzero(gaps > 1.5 * typical)]
    whole = all(abs(gaps[at] / typical - round(gaps[at] / typical)) < 0.05 for at in holes)
    spread = f"{gaps.min():.3g} to {gaps.max():.3g} mm, median {typical:.3g} mm"
    said = f"uneven gaps between slices ({spread}): see slice_positions_mm"
    if not holes or not whole:
        return (said,)
    missing = sum(round(float(gaps[at] / typical)) - 1 for at in holes)
    ends = [sorted((along[at], along[at + 1])) for at in holes]
    where = first_of(
        [f"{low:.1f} and {high:.1f} mm" for low, high in ends], 5, separator=", ", hint=" places"
    )
    return (f"{missing} slice(s) seem to be missing: between {where} along the stack; {said}",)

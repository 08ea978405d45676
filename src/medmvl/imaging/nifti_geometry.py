"""Where a NIfTI's voxels are: sform, qform, pixdim and the unit of length, and what to say where they contradict each other.

The sform wins where its code is positive, as in nibabel and SimpleITK 2.5; other programs, older ITK among them, prefer the
qform, so a contradiction means that programs differ about the same file. Standard: https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import ReadError
from medmvl.imaging.geometry import Affine, axcodes_of, check_affine, reverse_axes, spacing_of

if TYPE_CHECKING:
    from nibabel import Nifti1Header

_UNITS = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
"""xyzt_units: 0 says nothing, 1 is metre, 2 millimetre, 3 micron."""
_LONGEST_QUATERNION = 1.01
"""Square of the length of (b, c, d) up to which rounding may explain that it is more than 1."""
_ROUNDED = 3 * float(np.finfo(np.float32).eps)
"""Where 1 less than that length is less than this, it is rounding as well: the first part is 0, as in nibabel."""
_SAME_SIZE, _SAME_ANGLE_DEGREES, _SAME_PLACE_MM = 0.01, 1.0, 1.0


def damage() -> tuple[type[Exception], ...]:
    """What nibabel raises at a damaged header. Importing nibabel takes most of a second, so it waits for a header."""
    from nibabel.spatialimages import HeaderDataError

    return HeaderDataError, ValueError, KeyError, OverflowError, ArithmeticError, np.linalg.LinAlgError


class NiftiGeometry(NamedTuple):
    """What the header says about places, in array order (slices, rows, columns)."""

    affine: Affine | None
    spacing_mm: tuple[float, ...]
    """Spacing from pixdim; not positive where the header does not say."""
    notes: list[str]


def nifti_geometry(header: Nifti1Header) -> NiftiGeometry:
    """Return affine and spacing in millimetres, with a warning for everything that contradicts what was taken.

    Args:
        header: nibabel's NIfTI-1 or NIfTI-2 header.
    """
    spacing = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    scale, notes = _scale(header, spacing)
    forms: dict[str, Affine] = {}
    for name in ("sform", "qform"):
        if int(header[f"{name}_code"]) > 0:
            found = _usable(header, name, scale)
            if found is None:
                notes.append(f"the {name} is not a usable orientation and was ignored")
            else:
                forms[name] = found
    steps = tuple(float(step * scale) for step in reversed(spacing))
    taken = next(iter(forms), None)
    if taken is None:
        return NiftiGeometry(None, steps, [*notes, *_unused_sform(header)])
    affine = forms[taken]
    notes += _negative_steps(header)
    same_space = int(header["sform_code"]) == int(header["qform_code"])
    if len(forms) == 2:
        notes += _contradictions(affine, forms["qform"], same_space)
    if "qform" not in forms and all(step > 0 for step in steps) and _sizes_differ(spacing_of(affine), steps):
        notes.append(
            f"sform and pixdim disagree about the size of a voxel: the {taken} was taken, {_said(spacing_of(affine))} mm; "
            f"pixdim says {_said(steps)} mm (slices x rows x columns)"
        )
    return NiftiGeometry(affine, steps, notes)


def _scale(header: Nifti1Header, spacing: NDArray[np.float64]) -> tuple[float, list[str]]:
    unit = int(header["xyzt_units"]) & 7
    if unit not in _UNITS:
        return 1.0, [f"the header's unit of length has the unknown code {unit}; millimetres were assumed"]
    if unit == 1 and np.nanmax(spacing) > 0.1:
        said = "the header says metres, which would make voxels larger than 10 cm; millimetres were assumed"
        return 1.0, [said]
    return _UNITS[unit], []


def _usable(header: Nifti1Header, name: str, scale: float) -> Affine | None:
    unusable: tuple[type[Exception], ...] = (ReadError, *damage())
    try:
        affine = np.asarray(header.get_sform(), dtype=np.float64) if name == "sform" else _qform(header)
        check_affine(affine)
        scaled = np.diag([scale, scale, scale, 1.0]) @ affine
        check_affine(scaled)
        return reverse_axes(scaled)
    except unusable:
        return None


def _qform(header: Nifti1Header) -> Affine:
    """Return the matrix of the quaternion as nifti1.h defines it, where nibabel refuses what writers do.

    A `pixdim[0]` other than -1 is 1, and a quaternion that rounding made longer than 1 is scaled to 1. A negative step is
    taken by its size, as in nibabel's loading: NIfTI allows none.
    """
    steps = np.abs(np.asarray(header["pixdim"][:4], dtype=np.float64))
    sides = np.array([1.0, 1.0, -1.0 if float(header["pixdim"][0]) == -1.0 else 1.0])
    b, c, d = (float(header[f"quatern_{part}"]) for part in "bcd")
    length = b * b + c * c + d * d
    if not length < _LONGEST_QUATERNION:
        raise ReadError("the quaternion is longer than 1")
    a = np.sqrt(1 - length) if 1 - length > _ROUNDED else 0.0
    b, c, d = (part / np.sqrt(length) for part in (b, c, d)) if a == 0 else (b, c, d)
    turn = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ]
    affine = np.eye(4)
    affine[:3, :3] = np.array(turn) * (steps[1:] * sides)
    affine[:3, 3] = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    return affine


def _negative_steps(header: Nifti1Header) -> list[str]:
    """Return a note where the qform had to be read with steps of which NIfTI says that they are positive."""
    steps = [float(step) for step in header["pixdim"][1:4]]
    if min(steps) >= 0 or int(header["qform_code"]) <= 0 or int(header["sform_code"]) > 0:
        return []
    said = " x ".join(f"{step:g}" for step in steps)
    return [
        f"pixdim has negative steps ({said}), which NIfTI does not allow: their sizes were taken, and sides by the qform; "
        "compare left and right with the source"
    ]


def _contradictions(sform: Affine, qform: Affine, same_space: bool) -> list[str]:
    """Return what the qform says otherwise: sides and sizes; rotation and place too where both claim the same space."""
    differ = []
    if axcodes_of(sform) != axcodes_of(qform):
        differ.append(f"sides (axes grow to {_codes(qform)} by the qform, to {_codes(sform)} by the sform)")
    if _sizes_differ(spacing_of(sform), spacing_of(qform)):
        said = f"{_said(spacing_of(qform))} by the qform, {_said(spacing_of(sform))} by the sform"
        differ.append(f"the size of a voxel ({said}, mm)")
    if same_space and not differ:
        angle = _angle(sform, qform)
        if angle > _SAME_ANGLE_DEGREES:
            differ.append(f"the rotation, by {angle:.0f} degrees")
        distance = float(np.linalg.norm(sform[:3, 3] - qform[:3, 3]))
        if distance > max(_SAME_PLACE_MM, *spacing_of(sform)):
            differ.append(f"the place of the first voxel, by {distance:.1f} mm")
    if not differ:
        return []
    return [
        f"sform and qform disagree about {' and '.join(differ)}: the sform was taken, other programs may take the qform; "
        "compare left and right with the source"
    ]


def _sizes_differ(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return not np.allclose(one, other, rtol=_SAME_SIZE, atol=1e-6)


def _angle(one: Affine, other: Affine) -> float:
    """Return the largest angle in degrees between corresponding axes."""
    first, second = (affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0) for affine in (one, other))
    return float(np.degrees(np.arccos(np.clip((first * second).sum(axis=0), -1, 1))).max())


def _unused_sform(header: Nifti1Header) -> list[str]:
    """Return a note where a matrix is there whose code says not to use it."""
    rows = np.stack([np.asarray(header[f"srow_{axis}"], dtype=np.float64)[:3] for axis in "xyz"])
    codes = int(header["sform_code"]), int(header["qform_code"])
    if max(codes) > 0 or not np.isfinite(rows).all() or abs(np.linalg.det(rows)) < 1e-12:
        return []
    return ["an sform matrix is there, but sform and qform have code 0: it was not taken"]


def _codes(affine: Affine) -> str:
    return "".join(axcodes_of(affine))


def _said(steps: tuple[float, ...]) -> str:
    return " x ".join(f"{step:g}" for step in steps)

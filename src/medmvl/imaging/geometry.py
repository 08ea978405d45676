"""Where voxels are: pure functions on arrays and 4x4 affines that never touch a voxel's value.

An affine maps an array index `(d, h, w, 1)`, in the order of the array's axes, to RAS+ millimetres at voxel
centres.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import ReadError
from medmvl.imaging.image import CANONICAL_VOLUME_AXES, MedicalImage

Affine = NDArray[np.float64]
OPPOSITE = {"L": "R", "R": "L", "A": "P", "P": "A", "S": "I", "I": "S"}
_DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}
_CODES = {(row, sign > 0): code for code, (row, sign) in _DIRECTIONS.items()}


class Canonical(NamedTuple):
    """A volume in canonical order."""

    array: NDArray[Any]
    affine: Affine
    acquired_axcodes: tuple[str, ...]


def reverse_axes(affine: Affine) -> Affine:
    """Return the affine of the transposed array: file order (i, j, k) to array order (k, j, i), or back."""
    return np.asarray(affine, dtype=np.float64)[:, [2, 1, 0, 3]]


def axcodes_of(affine: Affine) -> tuple[str, ...]:
    """Return the direction in which each array axis grows, such as ("S", "P", "L").

    Equals nibabel's `aff2axcodes` of the file order (columns, rows, slices), reversed, also where axes are
    oblique.

    Raises:
        ReadError: where the affine is not finite or an axis has no direction.
    """
    check_affine(affine)
    linear = np.asarray(affine, dtype=np.float64)[:3, :3]
    if np.count_nonzero(linear) == 3:  # along the patient's axes, each on one: nothing to decide
        rows = np.argmax(linear != 0, axis=0)
        return tuple(_CODES[int(row), bool(linear[row, axis] > 0)] for axis, row in enumerate(rows))
    from nibabel import orientations  # takes most of a second to import

    codes = orientations.aff2axcodes(reverse_axes(affine))
    return tuple(str(code) for code in reversed(codes))


def check_affine(affine: Affine) -> None:
    """Raise ReadError unless the affine is finite and invertible."""
    linear = np.asarray(affine, dtype=np.float64)[:3, :3]
    lengths = np.linalg.norm(linear, axis=0)
    plausible = np.isfinite(affine).all() and (lengths > 1e-6).all() and (lengths < 1e6).all()
    if not plausible or abs(np.linalg.det(linear / lengths)) < 1e-4:
        raise ReadError(
            "the orientation matrix is singular, not finite or absurd: the file says no usable geometry"
        )


def spacing_of(affine: Affine) -> tuple[float, ...]:
    """Return the distance in millimetres between neighbouring voxel centres along each array axis."""
    return tuple(float(length) for length in np.linalg.norm(np.asarray(affine)[:3, :3], axis=0))


def affine_from(
    axcodes: Sequence[str], spacing_mm: Sequence[float], origin_mm: Sequence[float] = (0.0, 0.0, 0.0)
) -> Affine:
    """Return the affine of an array whose axes grow along `axcodes`, voxel (0, 0, 0) being at `origin_mm`."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (code, step) in enumerate(zip(axcodes, spacing_mm, strict=True)):
        row, sign = _DIRECTIONS[code]
        affine[row, axis] = sign * step
    affine[:3, 3] = origin_mm
    return affine


def order_matrix(source: Sequence[str], target: Sequence[str], shape: Sequence[int]) -> Affine:
    """Return the matrix from an index in the `target` order to an index in the `source` order.

    Args:
        source: axis codes of the array as it is.
        target: axis codes wanted; the same three body axes.
        shape: shape of the array as it is.
    """
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for new_axis, code in enumerate(target):
        old_axis = next(axis for axis, old in enumerate(source) if old in (code, OPPOSITE[code]))
        flipped = source[old_axis] != code
        matrix[old_axis, new_axis] = -1 if flipped else 1
        matrix[old_axis, 3] = shape[old_axis] - 1 if flipped else 0
    return matrix


def reorder(array: NDArray[Any], source: Sequence[str], target: Sequence[str]) -> NDArray[Any]:
    """Transpose and flip an array from the `source` axis codes to the `target` ones; a view, no voxel changes."""
    matrix = order_matrix(source, target, array.shape)[:3, :3]
    axes = [int(np.flatnonzero(matrix[:, new])[0]) for new in range(3)]
    flips = tuple(slice(None, None, int(matrix[axes[new], new])) for new in range(3))
    return array.transpose(axes)[flips]


def to_canonical(array: NDArray[Any], affine: Affine) -> Canonical:
    """Put a volume into canonical order (Superior, Posterior, Left) without resampling.

    Args:
        array: `(slices, rows, columns)` as acquired.
        affine: maps `(slice, row, column, 1)` to RAS+ millimetres; may be oblique or sheared.

    Returns:
        The contiguous canonical array, its affine, and the axis codes of the acquired order.

    Raises:
        ReadError: where the affine says no usable geometry.
    """
    codes = axcodes_of(affine)
    matrix = order_matrix(codes, CANONICAL_VOLUME_AXES, array.shape)
    canonical = np.ascontiguousarray(reorder(array, codes, CANONICAL_VOLUME_AXES))
    return Canonical(canonical, np.asarray(affine, dtype=np.float64) @ matrix, codes)


def orient_image(array: NDArray[Any], axcodes: Sequence[str]) -> tuple[NDArray[Any], Affine, tuple[str, ...]]:
    """Turn a 2D image the way it is looked at: rows to Inferior (else Posterior), columns to Left (else Posterior).

    Args:
        array: `(rows, columns)` or `(rows, columns, 3)`.
        axcodes: the directions in which rows (downwards) and columns (to the right) grow.

    Returns:
        The image, the matrix from its index `(0, h, w, 1)` to the old one, and its axis codes.
    """
    standing = "".join(axcodes)
    swap = standing[0] in "LR" or (standing[0] in "AP" and standing[1] in "SI")
    wanted = tuple(
        {"S": "I", "A": "P", "R": "L"}.get(code, code) for code in (standing[::-1] if swap else standing)
    )
    matrix = np.eye(4)
    matrix[1:3, 1:3] = 0
    turned = array.swapaxes(0, 1) if swap else array
    for axis, code in enumerate(wanted):
        old_axis = 1 - axis if swap else axis
        flipped = standing[old_axis] != code
        matrix[1 + old_axis, 1 + axis] = -1 if flipped else 1
        matrix[1 + old_axis, 3] = array.shape[old_axis] - 1 if flipped else 0
        turned = np.flip(turned, axis) if flipped else turned
    return np.ascontiguousarray(turned), matrix, wanted


def to_acquired_plane(image: MedicalImage) -> tuple[NDArray[Any], Affine]:
    """Return a volume slice by slice in the plane it was acquired in, each slice the way it is looked at.

    Slices grow to Superior, Posterior or Left; rows grow to Inferior (axial: Posterior), columns to Left
    (sagittal: Posterior), whatever order the file had. A volume without known orientation is returned as it
    is.

    Returns:
        The array, slice axis first, and the matrix from its index to the canonical index.
    """
    if image.acquired_axcodes is None or image.axcodes is None:
        return image.array, np.eye(4)
    planes = {"S": ("S", "P", "L"), "P": ("P", "I", "L"), "L": ("L", "I", "P")}
    slice_code = image.acquired_axcodes[0]
    target = planes[slice_code if slice_code in planes else OPPOSITE[slice_code]]
    array = np.ascontiguousarray(reorder(image.array, image.axcodes, target))
    return array, order_matrix(image.axcodes, target, image.shape)


def slice_axis(image: MedicalImage) -> int:
    """Return the axis of the canonical array along which the scan's slices are stacked; 0 where orientation is unknown."""
    if image.acquired_axcodes is None or image.axcodes is None:
        return 0
    code = image.acquired_axcodes[0]
    return next(axis for axis, own in enumerate(image.axcodes) if own in (code, OPPOSITE[code]))

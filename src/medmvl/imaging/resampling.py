"""Changing the grid of a volume: size, spacing, crop and padding, uneven or tilted slices to a regular grid.

Each function returns a 4x4 matrix from an index of the new array to an index of the old one, so that what is
found in the new array has its place in the scan. Resampling happens in the image's own units, before any
window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import UserError
from medmvl.imaging.geometry import Affine, slice_axis, spacing_of
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.intensity import padding_value
from medmvl.imaging.limits import check_size
from medmvl.imaging.sampling import Interpolation, resample_affine

SHEAR_TOLERANCE = 1e-3
"""Largest cosine between two axes of a grid that still counts as right-angled (0.06 degrees)."""


def resize(
    volume: NDArray[Any], shape: Sequence[int], interpolation: Interpolation = "area_linear"
) -> tuple[NDArray[Any], Affine]:
    """Resample a volume `(D, H, W)` to another shape over the same field of view.

    Args:
        volume: any real numbers.
        shape: the new `(D, H, W)`.
        interpolation: "area_linear" averages where an axis shrinks and interpolates where it grows; "linear"
            only interpolates (it aliases when shrinking); "nearest" is for labels and keeps the dtype.

    Returns:
        The new array (float32, or the old dtype for "nearest"), and the matrix from new to old index. Fields
        of view coincide, so the first voxel's centre moves: index 0 of the new array is at (old / new - 1) /
        2 of the old.
    """
    old, new = np.array(volume.shape, dtype=float), np.array(shape, dtype=float)
    return _resample(volume, tuple(int(n) for n in shape), old / new, np.zeros(3), interpolation)


def _resample(
    volume: NDArray[Any],
    shape: tuple[int, ...],
    step: NDArray[Any],
    start: NDArray[Any],
    interpolation: Interpolation,
) -> tuple[NDArray[Any], Affine]:
    """Resample to voxels of `step` old voxels each, the first of which begins `start` old voxels after the old edge."""
    if interpolation not in ("area_linear", "linear", "nearest"):
        raise UserError(
            f"interpolation {interpolation!r} is unknown; expected area_linear, linear or nearest"
        )
    check_size(shape, 4)
    matrix = np.diag([*step, 1.0])
    matrix[:3, 3] = start + (step - 1) / 2
    if interpolation == "nearest":
        centres = [np.floor((np.arange(n) + 0.5) * s + o) for n, s, o in zip(shape, step, start, strict=True)]
        index = [np.clip(c, 0, old - 1).astype(int) for c, old in zip(centres, volume.shape, strict=True)]
        return volume[np.ix_(*index)], matrix
    weights = [
        area_weights(old, n, s, o)
        if interpolation == "area_linear" and s > 1
        else linear_weights(old, n, s, o)
        for old, n, s, o in zip(volume.shape, shape, step, start, strict=True)
    ]
    return separable(volume, weights), matrix


def area_weights(old: int, new: int, step: float, start: float = 0.0) -> NDArray[np.float32]:
    """Return the `(new, old)` weights that average the old voxels each new one covers."""
    edges = np.clip(start + np.arange(new + 1) * step, 0, old)
    low, high = edges[:-1, None], edges[1:, None]
    cells = np.arange(old)[None]
    overlap = np.clip(np.minimum(high, cells + 1) - np.maximum(low, cells), 0, None)
    empty = overlap.sum(1) <= 0  # a new voxel wholly outside repeats the border
    overlap[empty, np.clip(edges[:-1][empty].astype(int), 0, old - 1)] = 1
    weights: NDArray[np.float32] = (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)
    return weights


def linear_weights(old: int, new: int, step: float, start: float = 0.0) -> NDArray[np.float32]:
    """Return the `(new, old)` weights that interpolate between old voxel centres; the border is repeated."""
    return interpolation_weights(np.arange(old, dtype=float), (np.arange(new) + 0.5) * step + start - 0.5)


def interpolation_weights(positions: NDArray[Any], wanted: NDArray[Any]) -> NDArray[np.float32]:
    """Return the `(len(wanted), len(positions))` weights that interpolate linearly between increasing positions."""
    place = np.interp(wanted, positions, np.arange(len(positions)))
    lower = np.minimum(place.astype(int), max(len(positions) - 2, 0))
    upper = np.minimum(lower + 1, len(positions) - 1)
    share = place - lower
    weights = np.zeros((len(wanted), len(positions)), np.float32)
    rows = np.arange(len(wanted))
    weights[rows, lower] += 1 - share
    weights[rows, upper] += share
    return weights


def separable(volume: NDArray[Any], weights: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Apply one `(new, old)` weight matrix per axis; depth first where it shrinks, so that the big array is passed once."""
    if weights[0].shape[0] <= weights[0].shape[1]:
        return _in_plane(_along_depth(volume, weights[0]), weights[1], weights[2])
    return _along_depth(_in_plane(volume, weights[1], weights[2]), weights[0])


def _along_depth(volume: NDArray[Any], weights: NDArray[np.float32]) -> NDArray[np.float32]:
    if _is_identity(weights):
        return volume.astype(np.float32, copy=False)
    result = np.zeros((len(weights), *volume.shape[1:]), np.float32)
    term = np.empty(volume.shape[1:], np.float32)
    for target, row in zip(result, weights, strict=True):
        for index in np.flatnonzero(row):
            np.multiply(volume[index], row[index], out=term, casting="unsafe")
            target += term
    return result


def _in_plane(
    volume: NDArray[Any], rows: NDArray[np.float32], columns: NDArray[np.float32]
) -> NDArray[np.float32]:
    if _is_identity(rows) and _is_identity(columns):
        return volume.astype(np.float32, copy=False)
    result = np.empty((len(volume), len(rows), len(columns)), np.float32)
    turned = np.ascontiguousarray(columns.T)
    for target, plane in zip(result, volume, strict=True):
        np.matmul(rows @ plane.astype(np.float32, copy=False), turned, out=target)
    return result


def _is_identity(weights: NDArray[np.float32]) -> bool:
    return weights.shape[0] == weights.shape[1] and bool(
        (weights == np.eye(len(weights), dtype=np.float32)).all()
    )


def crop_or_pad(volume: NDArray[Any], shape: Sequence[int], fill: float) -> tuple[NDArray[Any], Affine]:
    """Crop or pad each axis around its centre to `shape`; returns the array and the matrix from new to old index."""
    result = np.full(tuple(shape), fill, volume.dtype)
    matrix, source, target = np.eye(4), [], []
    for axis, (old, new) in enumerate(zip(volume.shape, shape, strict=True)):
        offset = (old - new) // 2
        matrix[axis, 3] = offset
        first, last = max(offset, 0), min(offset + new, old)
        source.append(slice(first, last))
        target.append(slice(first - offset, last - offset))
    result[tuple(target)] = volume[tuple(source)]
    return result, matrix


def is_sheared(affine: Affine) -> bool:
    """Return whether the axes of a grid are not at right angles, as with gantry tilt."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(axes.T @ axes - np.eye(3)).max() > SHEAR_TOLERANCE)


def resample_uneven_slices(image: MedicalImage) -> MedicalImage:
    """Return a volume on a regular, right-angled grid: uneven gaps made even, gantry tilt undone; others as they are.

    The grid keeps the in-plane spacing and covers every slice; what no slice covers is padded (-1024 in HU). Labels are
    taken from the nearest voxel, as a mean of two labels is a third.
    """
    if image.kind != "volume" or image.affine is None:
        return image
    interpolation: Interpolation = "nearest" if image.units == "label" else "area_linear"
    if image.slice_positions_mm is not None:
        image = _even_slices(image, interpolation)
    return (
        _unsheared(image, interpolation) if image.affine is not None and is_sheared(image.affine) else image
    )


def _even_slices(image: MedicalImage, interpolation: Interpolation) -> MedicalImage:
    """Resample along the slice axis to the median gap.

    `slice_positions_mm` are coordinates along the canonical body axis; the affine's slice column gives the
    direction.
    """
    assert image.affine is not None and image.slice_positions_mm is not None
    axis = slice_axis(image)
    positions = np.abs(np.array(image.slice_positions_mm) - image.slice_positions_mm[0])
    if len(positions) != image.array.shape[axis] or len(positions) < 2 or (np.diff(positions) <= 0).any():
        raise UserError(
            "the slice positions do not fit the slices: the series cannot be put on a regular grid"
        )
    gap = float(np.median(np.diff(positions)))
    count = int(np.floor(positions[-1] / gap + 1e-6)) + 1
    wanted = np.arange(count) * gap
    moved = np.moveaxis(image.array, axis, 0)
    if interpolation == "nearest":
        nearest = np.abs(wanted[:, None] - positions[None]).argmin(1)
        even = moved[nearest]
    else:
        even = _along_depth(moved, interpolation_weights(positions, wanted))
    affine = image.affine.copy()
    column = affine[:3, axis]
    component = int(np.abs(column).argmax())
    direction = column / np.abs(column[component])
    affine[:3, axis] = direction * gap
    sign = np.sign(column[component])
    affine[:3, 3] += direction * (image.slice_positions_mm[0] - sign * affine[component, 3])
    array = np.ascontiguousarray(np.moveaxis(even, 0, axis))
    return replace(
        image,
        array=array,
        affine=affine,
        spacing_mm=spacing_of(affine),
        slice_positions_mm=None,
        warnings=(*image.warnings, f"uneven slice gaps were resampled to {gap:.4g} mm"),
    )


def _unsheared(image: MedicalImage, interpolation: Interpolation) -> MedicalImage:
    """Resample a sheared grid to right angles: in-plane axes stay, the slice axis becomes their normal."""
    assert image.affine is not None
    target, shape = _right_angled(image.affine, image.array.shape, slice_axis(image))
    fill = padding_value(image)
    array = resample_affine(image.array, np.linalg.inv(image.affine) @ target, shape, fill, interpolation)
    return replace(
        image,
        array=array,
        affine=target,
        spacing_mm=spacing_of(target),
        warnings=(*image.warnings, "a tilted or sheared grid was resampled to right angles"),
    )


def _right_angled(affine: Affine, shape: tuple[int, ...], axis: int) -> tuple[Affine, tuple[int, int, int]]:
    """Return a right-angled grid that covers every voxel centre of a sheared one."""
    plane = [other for other in range(3) if other != axis]
    first = affine[:3, plane[0]]
    second = affine[:3, plane[1]] - first * (first @ affine[:3, plane[1]]) / (first @ first)
    normal = np.cross(first, second)
    normal *= (normal @ affine[:3, axis]) / (normal @ normal)
    target = np.eye(4)
    target[:3, plane[0]], target[:3, plane[1]], target[:3, axis] = first, second, normal
    corners = np.array(
        [[d, h, w, 1] for d in (0, shape[0] - 1) for h in (0, shape[1] - 1) for w in (0, shape[2] - 1)]
    )
    target[:3, 3] = affine[:3, 3]
    index = (np.linalg.inv(target) @ affine @ corners.T)[:3]
    low = np.floor(index.min(1) + 1e-6)
    size = np.ceil(index.max(1) - 1e-6) - low + 1
    target[:3, 3] += target[:3, :3] @ low
    return target, (int(size[0]), int(size[1]), int(size[2]))

"""Values of a volume at arbitrary places: for grids whose axes are not those of the volume, such as tilted scans."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medmvl.imaging.geometry import Affine
from medmvl.imaging.limits import check_size

Interpolation = Literal["area_linear", "linear", "nearest"]


def resample_affine(
    volume: NDArray[Any],
    matrix: Affine,
    shape: tuple[int, int, int],
    fill: float,
    interpolation: Interpolation = "linear",
) -> NDArray[Any]:
    """Sample a volume at `matrix @ new index`, trilinear or nearest; what lies outside becomes `fill`."""
    check_size(shape, 4)
    axis = _sliding_axis(matrix)
    if axis is not None:
        return _slid(volume, matrix, shape, fill, axis, nearest=interpolation == "nearest")
    nearest = interpolation == "nearest"
    result = np.empty(shape, volume.dtype if nearest else np.float32)
    rows, columns = np.meshgrid(np.arange(shape[1]), np.arange(shape[2]), indexing="ij")
    for depth in range(shape[0]):
        index = np.stack([np.full(rows.shape, depth), rows, columns, np.ones(rows.shape)]).reshape(4, -1)
        place = (matrix @ index)[:3]
        values = _nearest_at(volume, place, fill) if nearest else _linear_at(volume, place, fill)
        result[depth] = values.reshape(shape[1:])
    return result


def _sliding_axis(matrix: Affine) -> int | None:
    """Return the axis along which slices only slide in their own plane, as gantry tilt does; None for anything else."""
    for axis in range(3):
        sliding = matrix[:3, :3] - np.eye(3)
        on_axis = abs(matrix[axis, 3] - round(matrix[axis, 3])) < 1e-6 and abs(sliding[axis, axis]) < 1e-6
        sliding[[other for other in range(3) if other != axis], axis] = 0
        if on_axis and np.abs(sliding).max() < 1e-6:
            return axis
    return None


def _slid(
    volume: NDArray[Any],
    matrix: Affine,
    shape: tuple[int, int, int],
    fill: float,
    axis: int,
    *,
    nearest: bool,
) -> NDArray[Any]:
    """Shift every slice within its plane; the same values as point by point, a hundred times faster."""
    order = [axis, *(other for other in range(3) if other != axis)]
    source, size = volume.transpose(order), [shape[other] for other in order]
    result = np.full(size, fill, volume.dtype if nearest else np.float32)
    first = round(matrix[axis, 3])
    for index, target in enumerate(result):
        if 0 <= index + first < len(source):
            row, column = (float(matrix[other, axis] * index + matrix[other, 3]) for other in order[1:])
            plane = _shifted(source[index + first], 0, row, size[1], fill, nearest=nearest)
            target[:] = _shifted(plane, 1, column, size[2], fill, nearest=nearest)
    return np.ascontiguousarray(result.transpose(np.argsort(order)))


def _shifted(
    plane: NDArray[Any], axis: int, offset: float, size: int, fill: float, *, nearest: bool
) -> NDArray[Any]:
    place = np.arange(size) + offset
    last = plane.shape[axis] - 1
    outside = (place < -0.5) | (place > last + 0.5)
    place = np.clip(np.floor(place + 0.5) if nearest else place, 0, last)
    lower = place.astype(int)
    moved: NDArray[Any] = plane.take(lower, axis)
    if not nearest:
        share = (place - lower).astype(np.float32)
        share = share[:, None] if axis == 0 else share
        moved = moved.astype(np.float32) * (1 - share) + plane.take(np.minimum(lower + 1, last), axis) * share
    moved[(slice(None),) * axis + (outside,)] = fill
    return moved


def _nearest_at(volume: NDArray[Any], place: NDArray[Any], fill: float) -> NDArray[Any]:
    index = np.floor(place + 0.5).astype(int)
    limits = np.array(volume.shape)[:, None]
    inside = ((index >= 0) & (index < limits)).all(0)
    d, h, w = np.clip(index, 0, limits - 1)
    return np.where(inside, volume[d, h, w], np.asarray(fill).astype(volume.dtype))


def _linear_at(volume: NDArray[Any], place: NDArray[Any], fill: float) -> NDArray[np.float32]:
    limits = np.array(volume.shape)[:, None]
    inside = ((place >= -0.5) & (place <= limits - 0.5)).all(0)
    place = np.clip(place, 0, limits - 1)
    lower = np.minimum(place.astype(int), np.maximum(limits - 2, 0))
    share = (place - lower).astype(np.float32)
    upper = np.minimum(lower + 1, limits - 1)
    total = np.zeros(place.shape[1], np.float32)
    for corner in range(8):
        picks = [(corner >> axis) & 1 for axis in range(3)]
        d, h, w = (upper[axis] if pick else lower[axis] for axis, pick in enumerate(picks))
        weight = np.prod(
            [share[axis] if pick else 1 - share[axis] for axis, pick in enumerate(picks)], axis=0
        )
        total += weight * volume[d, h, w]
    return np.where(inside, total, np.float32(fill))

"""Canvas: a slab of voxels in Hounsfield units, coordinates in millimetres, and the shapes drawn on it.

Coordinates are `(z, y, x)` from the middle of the thorax, growing to Superior, Posterior and the patient's
Left. Shapes are evaluated inside their bounding box only; that is what makes a patient cheap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Mask = NDArray[np.bool_]
Point = tuple[float, float, float]
Window = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Region:
    """Voxels of a canvas: a boolean mask inside a window of it."""

    window: Window
    mask: Mask


class Canvas:
    """A slab `(D, H, W)` of float32 HU on a regular grid; starts as air."""

    def __init__(self, z: Float, y: Float, x: Float, slice_mm: float) -> None:
        self.z, self.y, self.x = z, y, x
        self.slice_mm = slice_mm
        self.hu: Float = np.full((len(z), len(y), len(x)), -1000, np.float32)

    @property
    def voxel_mm(self) -> float:
        """The in-plane distance between voxels."""
        return float(self.x[1] - self.x[0])

    def window(self, low: Point, high: Point) -> Window:
        """Return the voxels between two corners; may be empty."""
        axes = zip((self.z, self.y, self.x), low, high, strict=True)
        first, second, third = (slice(*np.searchsorted(axis, (a, b)).tolist()) for axis, a, b in axes)
        return first, second, third

    def around(self, centre: Point, reach: Point) -> Window:
        """Return the voxels at most `reach` from `centre` along each axis."""
        low, high = (tuple(c + sign * r for c, r in zip(centre, reach, strict=True)) for sign in (-1, 1))
        return self.window((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def coordinates(self, window: Window) -> tuple[Float, Float, Float]:
        """Return z `(d, 1, 1)`, y `(1, h, 1)` and x `(1, 1, w)` of a window."""
        return (
            self.z[window[0], None, None], self.y[None, window[1], None], self.x[None, None, window[2]],
        )  # fmt: skip

    def paint(self, region: Region | None, hu: float) -> None:
        """Set the voxels of a region."""
        if region is not None:
            np.copyto(self.hu[region.window], np.float32(hu), where=region.mask)

    def ellipsoid(self, centre: Point, semi_axes: Point) -> Region | None:
        """Return the voxels inside an axis-parallel ellipsoid."""
        window = self.around(centre, semi_axes)
        rho = ellipsoid_radius(self.coordinates(window), centre, semi_axes)
        return Region(window, rho < 1) if rho.size else None

    def capsule(self, start: Point, end: Point, radius: float) -> Region | None:
        """Return the voxels closer than `radius` to a line segment."""
        low = [min(a, b) - radius for a, b in zip(start, end, strict=True)]
        high = [max(a, b) + radius for a, b in zip(start, end, strict=True)]
        window = self.window((low[0], low[1], low[2]), (high[0], high[1], high[2]))
        offsets = [axis - np.float32(a) for axis, a in zip(self.coordinates(window), start, strict=True)]
        along = [np.float32(b - a) for a, b in zip(start, end, strict=True)]
        length2 = max(float(sum(a * a for a in along)), 1e-6)
        dot = offsets[0] * along[0] + (offsets[1] * along[1] + offsets[2] * along[2])
        if not dot.size:
            return None
        nearest = np.clip(dot / np.float32(length2), 0, 1)
        distance2 = nearest * (nearest * np.float32(length2) - 2 * dot)
        distance2 += offsets[0] ** 2 + (offsets[1] ** 2 + offsets[2] ** 2)
        return Region(window, distance2 < radius * radius)


def ellipsoid_radius(coordinates: tuple[Float, Float, Float], centre: Point, semi_axes: Point) -> Float:
    """Return the squared normalised radius: below 1 inside, 1 on the surface."""
    z, y, x = (
        ((axis - np.float32(c)) / np.float32(s)) ** 2
        for axis, c, s in zip(coordinates, centre, semi_axes, strict=True)
    )
    return np.asarray(z + (y + x), np.float32)

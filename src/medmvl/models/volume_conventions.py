"""Preprocessing of volumes as published models were trained with it, quirks included, each under its name.

Imported models keep the convention of their origin. New models need none: resampling in HU before any window is better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from medmvl.errors import UserError
from medmvl.imaging.resampling import interpolation_weights, separable
from medmvl.json_types import JsonObject
from medmvl.models.tiling import Shape

ConventionName = Literal["medm_vl_slices", "medm_vl_m3d_clip", "medm_vl_medm_clip", "merlin", "astra_chest"]
Voxels = tuple[NDArray[np.float32], NDArray[np.float64]]
"""float32 `(D, H, W)` in [0, 1], and the 4x4 matrix from an index of it to one of the scan."""
LOWEST_HU, HIGHEST_HU = -1000, 1000
MERLIN_SPACING_MM = (3.0, 1.5, 1.5)
"""Spacing of Merlin's volumes, slices first."""
ASTRA_HIGHEST_HU = 200
RESNET_AXCODES = ("S", "R", "A")
"""The order in which Merlin's network, and Astra's after it, reads a volume of the axes R, A, S: the last axis first."""
RESNET_SIZE = (160, 224, 224)
"""Size of their volumes in that order."""


@dataclass(frozen=True)
class Grey:
    """MSIIP/MedM-VL: HU -1000 to 1000 become grey levels 0 to 255, then the box of the foreground is cut out and stretched."""

    foreground: float
    """The foreground is what has more than this many grey levels (after `from_lowest`)."""
    from_lowest: bool
    """True where grey levels are stretched from the scan's own lowest to its highest."""
    eight_bit: bool
    """True where fractions of grey levels are cut off after the stretching."""

    def __call__(self, hounsfield: NDArray[Any], size: Shape, spacing_mm: Sequence[float] | None) -> Voxels:
        """See `by_convention`; the spacing plays no part. Slice by slice, as the grey levels of a whole CT take a gigabyte."""
        levels = self._levels(hounsfield)
        start, stop = _box(levels(plane) > self.foreground for plane in hounsfield)
        depth, *within = map(slice, start, stop)
        voxels = np.empty([high - low for low, high in zip(start, stop, strict=True)], np.float32)
        for cut, plane in zip(voxels, hounsfield[depth], strict=True):
            cut[:] = levels(plane[tuple(within)])
        voxels = _stretched(voxels, size, "trilinear")
        if self.eight_bit:
            voxels = np.floor(voxels)
        return (voxels / np.float32(255)).astype(np.float32), _stretch(start, stop, size)

    def _levels(self, hounsfield: NDArray[Any]) -> Callable[[NDArray[Any]], NDArray[np.float64]]:
        """What makes grey levels of the values of this scan."""

        def plain(values: NDArray[Any]) -> NDArray[np.float64]:
            clipped: NDArray[np.float64] = np.clip(values, LOWEST_HU, HIGHEST_HU).astype(np.float64)
            return (clipped - LOWEST_HU) / (HIGHEST_HU - LOWEST_HU) * 255

        if not self.from_lowest:
            return plain
        low, high = plain(np.array([hounsfield.min(), hounsfield.max()]))
        return lambda values: (plain(values) - low) / max(float(high - low), 255e-8) * 255


def _merlin(hounsfield: NDArray[Any], size: Shape, spacing_mm: Sequence[float] | None) -> Voxels:
    """Merlin (arXiv 2406.06512): 1.5 x 1.5 x 3 mm from the centre of the first voxel, HU -1000 to 1000, then the centre.

    Resampling only interpolates, also where it shrinks; what lies outside the scan is 0, the value of air.
    """
    if spacing_mm is None:
        raise UserError(
            "convention merlin resamples to 1.5 x 1.5 x 3 mm, but this volume does not say its spacing: declare "
            "spacing_mm."
        )
    weights, matrix = [], np.eye(4)
    for axis, (length, old, new) in enumerate(
        zip(hounsfield.shape, spacing_mm, MERLIN_SPACING_MM, strict=True)
    ):
        count = int(np.round((length - 1) * old / new + 1))
        weights.append(interpolation_weights(np.arange(length, dtype=float), np.arange(count) * (new / old)))
        matrix[axis, axis] = new / old
    unit = _unit(separable(hounsfield.astype(np.float32, copy=False), weights), HIGHEST_HU)
    voxels, shift = _centre(unit, size)
    return voxels, matrix @ shift


def _astra_chest(hounsfield: NDArray[Any], size: Shape, spacing_mm: Sequence[float] | None) -> Voxels:
    """Astra's chain for chest CT: the box of what is above -1000 HU, averaged to the size, HU -1000 to 200."""
    start, stop = _box(plane > LOWEST_HU for plane in hounsfield)
    voxels = _stretched(hounsfield[tuple(map(slice, start, stop))], size, "area")
    return _unit(voxels, ASTRA_HIGHEST_HU), _stretch(start, stop, size)


CONVENTIONS: dict[ConventionName, Callable[[NDArray[Any], Shape, Sequence[float] | None], Voxels]] = {
    "medm_vl_slices": Grey(0.0, from_lowest=False, eight_bit=True),
    "medm_vl_m3d_clip": Grey(0.0, from_lowest=True, eight_bit=False),
    "medm_vl_medm_clip": Grey(55.6982188356434, from_lowest=False, eight_bit=False),
    "merlin": _merlin,
    "astra_chest": _astra_chest,
}
MEDM_CLIP_MEAN, MEDM_CLIP_STD = 55.6982188356434 / 255, 66.1943479570918 / 255
"""How MedM-CLIP normalises grey levels, in [0, 1]; what is above its mean is its foreground."""


def resnet_processor(convention: ConventionName) -> JsonObject:
    """Settings of `VolumeProcessor` for Merlin's network with the preprocessing it was trained with."""
    return {
        "size": list(RESNET_SIZE),
        "plane": "axial",
        "input_axcodes": list(RESNET_AXCODES),
        "convention": convention,
        "mean": 0.0,
        "std": 1.0,
    }


def by_convention(
    name: ConventionName, hounsfield: NDArray[Any], size: Shape, spacing_mm: Sequence[float] | None = None
) -> Voxels:
    """A volume as a published model reads it, before normalisation.

    Args:
        name: name of the convention.
        hounsfield: `(D, H, W)` in HU.
        size: size in voxels.
        spacing_mm: millimetres along the axes of `hounsfield`, where they are known.

    Returns:
        float32 `(D, H, W)` of `size` in [0, 1], and the 4x4 matrix from an index of it to one of `hounsfield`.

    Raises:
        UserError: the convention needs a spacing.
    """
    return CONVENTIONS[name](hounsfield, size, spacing_mm)


def _unit(hounsfield: NDArray[np.float32], highest: float) -> NDArray[np.float32]:
    """HU from -1000 to `highest` as 0 to 1."""
    scaled: NDArray[np.float32] = (np.clip(hounsfield, LOWEST_HU, highest) - LOWEST_HU) / (
        highest - LOWEST_HU
    )
    return scaled.astype(np.float32)


def _centre(volume: NDArray[np.float32], size: Shape) -> Voxels:
    """Padded with 0 on both sides and cut around the centre as MONAI does: the odd voxel is added last and cut first."""
    matrix, source, target = np.eye(4), [], []
    for axis, (old, new) in enumerate(zip(volume.shape, size, strict=True)):
        first = old // 2 - new // 2 if old > new else -((new - old) // 2)
        matrix[axis, 3] = first
        source.append(slice(max(first, 0), min(first + new, old)))
        target.append(slice(max(-first, 0), max(-first, 0) + min(old, new)))
    result = np.zeros(size, np.float32)
    result[tuple(target)] = volume[tuple(source)]
    return result, matrix


def _stretched(volume: NDArray[Any], size: Shape, mode: str) -> NDArray[np.float32]:
    tensor = torch.from_numpy(np.ascontiguousarray(volume, dtype=np.float32))
    return F.interpolate(tensor[None, None], size=size, mode=mode)[0, 0].numpy()


def _box(foreground: Iterable[NDArray[np.bool_]]) -> tuple[list[int], list[int]]:
    """First and last-plus-one index along each axis, from slices; the whole where there is no foreground."""
    depths, rows, columns = zip(
        *((plane.any(), plane.any(1), plane.any(0)) for plane in foreground), strict=True
    )
    lines = [np.array(depths), np.logical_or.reduce(rows), np.logical_or.reduce(columns)]
    if not lines[0].any():
        return [0, 0, 0], [len(line) for line in lines]
    found = [np.flatnonzero(line) for line in lines]
    return [int(line[0]) for line in found], [int(line[-1]) + 1 for line in found]


def _stretch(start: list[int], stop: list[int], size: Shape) -> NDArray[np.float64]:
    matrix = np.eye(4)
    for axis, (low, high, new) in enumerate(zip(start, stop, size, strict=True)):
        step = (high - low) / new
        matrix[axis, axis], matrix[axis, 3] = step, low + step / 2 - 0.5
    return matrix

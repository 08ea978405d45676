"""Preprocessing of volumes as published models were trained with it, quirks included, each under its name.

Imported models keep the convention of their origin. New models need none: resampling in HU before any window is better.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from medmvl.models.tiling import Shape

ConventionName = Literal["medm_vl_slices", "medm_vl_m3d_clip", "medm_vl_medm_clip"]
LOWEST_HU, HIGHEST_HU = -1000, 1000


class Convention(NamedTuple):
    """MSIIP/MedM-VL: HU -1000 to 1000 become grey levels 0 to 255, then the box of the foreground is cut out and stretched."""

    foreground: float
    """The foreground is what has more than this many grey levels (after `from_lowest`)."""
    from_lowest: bool
    """Whether grey levels are stretched from the scan's own lowest to its highest."""
    eight_bit: bool
    """Whether fractions of grey levels are cut off after the stretching."""


CONVENTIONS: dict[ConventionName, Convention] = {
    "medm_vl_slices": Convention(0.0, from_lowest=False, eight_bit=True),
    "medm_vl_m3d_clip": Convention(0.0, from_lowest=True, eight_bit=False),
    "medm_vl_medm_clip": Convention(55.6982188356434, from_lowest=False, eight_bit=False),
}
MEDM_CLIP_MEAN, MEDM_CLIP_STD = 55.6982188356434 / 255, 66.1943479570918 / 255
"""How MedM-CLIP normalises grey levels, in [0, 1]; what is above its mean is its foreground."""


def by_convention(
    name: ConventionName, hounsfield: NDArray[np.generic], size: Shape
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A volume as a published model reads it, before normalisation.

    Args:
        name: name of the convention.
        hounsfield: `(D, H, W)` in HU.
        size: size in voxels.

    Returns:
        float32 `(D, H, W)` of `size` in [0, 1], and the 4x4 matrix from an index of it to one of `hounsfield`.
    """
    convention = CONVENTIONS[name]
    grey = (np.clip(hounsfield, LOWEST_HU, HIGHEST_HU).astype(np.float64) - LOWEST_HU) / (
        HIGHEST_HU - LOWEST_HU
    )
    grey = grey * 255
    if convention.from_lowest:
        grey = (grey - grey.min()) / max(float(np.ptp(grey)), 255e-8) * 255
    start, stop = _box(grey > convention.foreground)
    cut = np.ascontiguousarray(grey[tuple(map(slice, start, stop))], dtype=np.float32)
    voxels = F.interpolate(torch.from_numpy(cut)[None, None], size=size, mode="trilinear")[0, 0].numpy()
    if convention.eight_bit:
        voxels = np.floor(voxels)
    return (voxels / np.float32(255)).astype(np.float32), _stretch(start, stop, size)


def _box(foreground: NDArray[np.bool_]) -> tuple[list[int], list[int]]:
    """First and last-plus-one index along each axis; the whole where there is no foreground."""
    if not foreground.any():
        return [0, 0, 0], list(foreground.shape)
    lines = [np.flatnonzero(foreground.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    return [int(line[0]) for line in lines], [int(line[-1]) + 1 for line in lines]


def _stretch(start: list[int], stop: list[int], size: Shape) -> NDArray[np.float64]:
    matrix = np.eye(4)
    for axis, (low, high, new) in enumerate(zip(start, stop, size, strict=True)):
        step = (high - low) / new
        matrix[axis, axis], matrix[axis, 3] = step, low + step / 2 - 0.5
    return matrix

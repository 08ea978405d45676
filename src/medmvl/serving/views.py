"""What a page shows of a study: its voxels as NIfTI, what the model sees of it as NIfTI, a small image; no identity."""

from __future__ import annotations

import io
import math
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medmvl.imaging import MedicalImage
from medmvl.imaging.draw import slice_image
from medmvl.imaging.geometry import affine_from
from medmvl.models.visual_preprocessor import VisualPreprocessor
from medmvl.models.visuals import ProcessedVisual

THUMBNAIL = 128
"""Longer side, pixels."""
_RGB = np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])
_UNKNOWN = ("S", "P", "L")
"""How what has no known orientation is laid out, so that it looks on a screen as in its file."""


def pixels_nifti(image: MedicalImage, max_voxels: int) -> bytes:
    """The image as uncompressed NIfTI-1, every second, third, ... voxel where there are more than `max_voxels`.

    A 2D image becomes one slice, laid into the body where its orientation is known.
    """
    array, affine = _volume_of(image)
    step = 1
    while math.prod(-(-count // step) for count in array.shape[:3]) > max_voxels:
        step += 1
    if step > 1:
        array, affine = array[::step, ::step, ::step], affine @ np.diag([step, step, step, 1.0])
    return _nifti(array, affine)


def seen_nifti(
    preprocessor: VisualPreprocessor, visual: ProcessedVisual, image: MedicalImage, channel: int = 0
) -> bytes:
    """What the model sees, in [0, 255], where it lies in the image; of an image in tiles the thumbnail.

    Args:
        preprocessor: preprocessor of the model that sees.
        visual: what it sees of `image`.
        image: what was read.
        channel: of a volume with several windows; the last one where there are fewer.
    """
    unit = preprocessor.unit_range(visual)
    _, affine = _volume_of(image)
    if visual.kind == "volume":
        shown = unit[min(channel, len(unit) - 1)]
    else:
        channels = unit[0]
        grey = len(channels) != 3 or bool((channels == channels[:1]).all())
        shown = channels[0][None] if grey else np.moveaxis(channels, 0, -1)[None]
    return _nifti((shown * 255).round().astype(np.uint8), affine @ visual.matrix)


def corners_mm(image: MedicalImage, lower: tuple[float, ...], upper: tuple[float, ...]) -> list[list[float]]:
    """The centres of the first and the last voxel of a box, in millimetres of the NIfTI that `pixels_nifti` makes.

    Args:
        image: what the box lies in.
        lower: where it begins along each axis, as a share of the image.
        upper: where it ends.
    """
    array, affine = _volume_of(image)
    if len(lower) < 3:
        lower, upper = (0.0, *lower), (1.0, *upper)
    sizes = np.array(array.shape[:3])
    first = np.minimum(np.floor(np.array(lower) * sizes), sizes - 1)
    last = np.maximum(np.ceil(np.array(upper) * sizes) - 1, first)
    return [[float(value) for value in (affine @ (*corner, 1.0))[:3]] for corner in (first, last)]


def thumbnail(image: MedicalImage) -> bytes:
    """A PNG of the image, or of a volume's middle slice."""
    drawn = slice_image(image, image.shape[0] // 2 if image.kind == "volume" else 0)
    drawn.thumbnail((THUMBNAIL, THUMBNAIL))
    stored = io.BytesIO()
    drawn.save(stored, format="PNG")
    return stored.getvalue()


def _volume_of(image: MedicalImage) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """`(D, H, W)` or `(1, H, W, 3)`, and an affine from there to RAS+ millimetres."""
    if image.kind == "volume":
        spacing = image.spacing_mm or (1.0, 1.0, 1.0)
        return image.array, affine_from(_UNKNOWN, spacing) if image.affine is None else image.affine
    spacing = (1.0, *(image.spacing_mm or (1.0, 1.0)))
    codes = _UNKNOWN if image.axcodes is None else (_across(image.axcodes), *image.axcodes)
    return image.array[None], affine_from(codes, spacing)


def _across(axcodes: tuple[str, ...]) -> str:
    """The direction an image does not show."""
    return next(pair[0] for pair in ("SI", "AP", "RL") if not set(pair) & set(axcodes))


def _nifti(array: NDArray[Any], affine: NDArray[np.float64]) -> bytes:
    if array.ndim == 4:
        colours = np.ascontiguousarray(array.astype(np.uint8)).view(_RGB)[..., 0]
        stored: NDArray[Any] = colours.transpose(2, 1, 0)
    else:
        stored = _plain(array).transpose(2, 1, 0)
    to_file = np.zeros((4, 4))
    to_file[[0, 1, 2, 3], [2, 1, 0, 3]] = 1
    return bytes(nib.Nifti1Image(stored, affine @ to_file).to_bytes())


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """The values in a type that every viewer reads, without what is not a number."""
    if array.dtype.kind == "f":
        return np.nan_to_num(array.astype(np.float32, copy=False), nan=0.0, posinf=0.0, neginf=0.0)
    if array.dtype in (np.uint8, np.int16, np.uint16, np.int32):
        return array
    return array.astype(np.uint8 if array.dtype == np.bool_ else np.float32)

"""Whatever holds an image in Python (a path, an array, a Pillow image, a MedicalImage) as a `MedicalImage`."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmvl.errors import ReadError
from medmvl.imaging.arrays import from_array
from medmvl.imaging.declared_metadata import Declared, apply_declared
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.read import read

Visual = str | os.PathLike[str] | MedicalImage | Image.Image | NDArray[Any]


def as_medical_image(value: Visual, **declared: Any) -> MedicalImage:
    """The image in one form.

    Args:
        value: a path, a `MedicalImage`, a Pillow image, or an array `(D, H, W)`, `(H, W)` or 8-bit `(H, W, 3)`.
        **declared: `units`, `spacing_mm`, `axcodes` and `modality`, where the value does not say them; see `read`.

    Raises:
        ReadError: it cannot be read, or contradicts what is declared.
    """
    if isinstance(value, str | os.PathLike):
        return read(value, **declared)
    return apply_declared(_image_of(value), Declared.parse(**declared))


def _image_of(value: object) -> MedicalImage:
    if isinstance(value, MedicalImage):
        return value
    if isinstance(value, Image.Image):
        plain = value if value.mode in ("L", "RGB", "I;16", "I", "F") else value.convert("RGB")
        return replace(from_array(np.asarray(plain)), source_format="pillow")
    if isinstance(value, np.ndarray):
        return from_array(value)
    raise ReadError(
        f"a {type(value).__name__} is no image: expected a path, a MedicalImage, a NumPy array or a Pillow image"
    )

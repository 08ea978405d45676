"""Small synthetic image files and volumes for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from medmvl.imaging.geometry import affine_from, spacing_of, to_canonical
from medmvl.imaging.image import MedicalImage


def numbered(shape: tuple[int, ...], dtype: Any = np.int16) -> NDArray[Any]:
    """An array whose every voxel has its own value, so that no two places can be confused."""
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


def volume(
    shape: tuple[int, int, int] = (4, 5, 6),
    axcodes: str = "SPL",
    spacing_mm: tuple[float, float, float] = (5.0, 0.7, 0.8),
    units: str = "HU",
    **fields: Any,
) -> MedicalImage:
    """A canonical volume of numbered voxels, acquired along `axcodes`."""
    affine = affine_from(axcodes, spacing_mm, (-10.0, 20.0, 30.0))
    canonical = to_canonical(numbered(shape), affine)
    return MedicalImage(
        array=canonical.array,
        kind="volume",
        units=units,
        source_format="numpy",
        affine=canonical.affine,
        axcodes=("S", "P", "L"),
        acquired_axcodes=canonical.acquired_axcodes,
        spacing_mm=spacing_of(canonical.affine),
        **fields,
    )


def nifti_file(
    path: Path, array: NDArray[Any], affine: NDArray[Any] | None, version: int = 1, **header: Any
) -> Path:
    """Write a NIfTI in file order (i, j, k) with header fields set afterwards."""
    image = (nib.Nifti1Image if version == 1 else nib.Nifti2Image)(array, affine)
    if affine is not None:
        image.set_sform(affine, code=1)
        image.set_qform(None, code=0)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path

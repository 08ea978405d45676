"""Writing images so that they read back equal: self-describing `.npz`, bare `.npy`, NIfTI, DICOM (in `write_dicom`)."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from medmvl.atomic_files import atomic_write
from medmvl.errors import UserError
from medmvl.imaging.geometry import reverse_axes
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.write_dicom import write_dicom_image, write_dicom_series

__all__ = ["write_dicom_image", "write_dicom_series", "write_image", "write_nifti", "write_npy"]


def write_image(image: MedicalImage, path: Path) -> None:
    """Write in the format that the suffix names.

    Raises:
        UserError: another suffix, or what the format cannot hold.
    """
    if path.name.lower().endswith((".nii", ".nii.gz")):
        write_nifti(image, path)
    elif path.suffix in (".npy", ".npz"):
        write_npy(image, path)
    else:
        raise UserError(
            f"{path.name}: expected .npz, which keeps everything, .nii, .nii.gz or .npy; `plot` gives an image for a PNG"
        )


def write_npy(image: MedicalImage, path: Path) -> None:
    """Write `.npz` with affine, spacing, units and modality next to the array, or a bare `.npy`; same image, same bytes."""
    if path.suffix == ".npy":
        with atomic_write(path) as file:
            np.save(file, image.array, allow_pickle=False)
        return
    if path.suffix != ".npz":
        raise UserError(f"{path.name}: expected a name that ends in .npy or .npz")
    parts: dict[str, Any] = {"array": image.array, "units": np.array(image.units)}
    for key in ("affine", "spacing_mm", "modality", "acquired_axcodes", "slice_positions_mm"):
        value = getattr(image, key)
        if value is not None:
            parts[key] = np.array(value)
    with atomic_write(path) as file:
        np.savez_compressed(file, **parts)


def write_nifti(image: MedicalImage, path: Path) -> None:
    """Write a volume as NIfTI-1 in RAS file order with an exact sform; `.nii.gz` is compressed without a time stamp.

    NIfTI cannot say units, modality or uneven gaps: declare `units` when reading.

    Raises:
        UserError: for a 2D image, uneven slices, or voxels of a type NIfTI does not know.
    """
    if image.kind != "volume" or image.slice_positions_mm is not None:
        raise UserError(f"{path.name}: NIfTI holds regular volumes; this is a 2D image or has uneven slices")
    array = image.array.transpose(2, 1, 0)
    if image.affine is None:
        nifti = nib.Nifti1Image(array, None)
        nifti.header.set_zooms(tuple(reversed(image.spacing_mm or (1.0, 1.0, 1.0))))
    else:
        nifti = nib.as_closest_canonical(nib.Nifti1Image(array, reverse_axes(image.affine)))
        nifti.set_sform(nifti.affine, code=1)
    nifti.header.set_xyzt_units("mm")
    data = nifti.to_bytes()
    with atomic_write(path) as file:
        file.write(_compressed(data) if path.name.endswith(".gz") else data)


def _compressed(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=4, mtime=0) as stream:
        stream.write(data)
    return buffer.getvalue()

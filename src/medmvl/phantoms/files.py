"""How a phantom's image is stored in each format; `WRITERS` is the table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from medmvl.imaging.image import MedicalImage
from medmvl.phantoms.patient import Patient


def write_npy(image: MedicalImage, stem: Path, patient: Patient) -> Path:
    """Write a bare array; the sample's block declares units, spacing and orientation."""
    path = stem.with_suffix(".npy")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, image.array, allow_pickle=False)
    return path


def write_nifti(image: MedicalImage, stem: Path, patient: Patient) -> Path:
    """Write a volume as NIfTI, with its affine, and an X-ray as a 16-bit PNG."""
    if image.kind == "image":
        path = stem.with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.array).save(path)
        return path
    from medmvl.imaging.write import write_nifti as write

    path = stem.with_suffix(".nii")
    path.parent.mkdir(parents=True, exist_ok=True)
    write(image, path)
    return path


def write_dicom(image: MedicalImage, stem: Path, patient: Patient) -> Path:
    """Write a volume as a series folder and an X-ray as one DICOM file."""
    from medmvl.imaging.write_dicom import write_dicom_image, write_dicom_series

    seed = 2 * patient.seed + patient.study  # a prior study has UIDs of its own
    if image.kind == "volume":
        write_dicom_series(image, stem, patient_pseudonym=patient.pseudonym, seed=seed)
        return stem
    path = stem.with_suffix(".dcm")
    write_dicom_image(image, path, patient_pseudonym=patient.pseudonym, seed=seed)
    return path


WRITERS: dict[str, Callable[[MedicalImage, Path, Patient], Path]] = {
    "npy": write_npy,
    "nifti": write_nifti,
    "dicom": write_dicom,
}

"""Writing DICOM: a CT or MR volume as a series of slices, a radiograph as one file; reads back equal.

The only identity is the pseudonym given. UIDs come from a hash of pseudonym and seed, so the same image gives
the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
)
from pydicom.valuerep import DSfloat

from medmvl.atomic_files import atomic_write
from medmvl.errors import UserError
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.resampling import is_sheared

_CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "DX": DigitalXRayImageStorageForPresentation}
_PATIENT_AXES = {"I": "F", "S": "H", "L": "L", "R": "R", "A": "A", "P": "P"}


def write_dicom_series(image: MedicalImage, folder: Path, *, patient_pseudonym: str, seed: int = 0) -> None:
    """Write a volume as axial slices `0001.dcm` (the lowest), ...

    Args:
        image: a volume with an affine and 16-bit integers.
        folder: where the files go; made where it is missing.
        patient_pseudonym: becomes PatientID and PatientName.
        seed: with the pseudonym decides the UIDs.

    Raises:
        UserError: where the image is no such volume.
    """
    if image.kind != "volume" or image.affine is None or is_sheared(image.affine) or image.slice_positions_mm:
        raise UserError(f"{folder.name}: a DICOM series needs a volume with a known, right-angled, even grid")
    folder.mkdir(parents=True, exist_ok=True)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine
    gap, rows, columns = (float(np.linalg.norm(lps[:3, axis])) for axis in range(3))
    for index, plane in enumerate(_sixteen_bit(image)):
        dataset = _dataset(image, plane, patient_pseudonym, seed, index + 1)
        dataset.ImageOrientationPatient = _decimals([*(lps[:3, 2] / columns), *(lps[:3, 1] / rows)])
        dataset.ImagePositionPatient = _decimals((lps @ [index, 0, 0, 1])[:3])
        dataset.PixelSpacing = _decimals([rows, columns])
        dataset.SliceThickness = _decimals([gap])[0]
        if image.units == "HU":
            dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "HU"
        _save(dataset, folder / f"{index + 1:04d}.dcm")


def write_dicom_image(image: MedicalImage, path: Path, *, patient_pseudonym: str, seed: int = 0) -> None:
    """Write a grey 2D image, such as a radiograph, as one file.

    Raises:
        UserError: where the image is a volume, coloured, or not made of 8- or 16-bit integers.
    """
    if image.kind != "image" or image.array.ndim != 2:
        raise UserError(f"{path.name}: expected a grey 2D image, found {image.kind} of shape {image.shape}")
    dataset = _dataset(image, _sixteen_bit(image), patient_pseudonym, seed, 1)
    if image.axcodes is not None:
        dataset.PatientOrientation = [_PATIENT_AXES[image.axcodes[1]], _PATIENT_AXES[image.axcodes[0]]]
    if image.spacing_mm is not None:
        dataset.PixelSpacing = _decimals(image.spacing_mm)
    _save(dataset, path)


def _sixteen_bit(image: MedicalImage) -> NDArray[Any]:
    array = image.array
    if array.dtype in (np.int16, np.uint16, np.uint8):
        return array
    rounded: NDArray[Any] = np.rint(array)
    if not np.array_equal(rounded, array) or array.min() < -32768 or array.max() > 32767:
        raise UserError(f"DICOM is written from whole numbers of 16 bit; found {array.dtype}, round it first")
    return rounded.astype(np.int16)


def _dataset(image: MedicalImage, plane: NDArray[Any], pseudonym: str, seed: int, number: int) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = _CLASSES.get(image.modality or "", SecondaryCaptureImageStorage)
    dataset.SOPInstanceUID = _uid(pseudonym, seed, image.kind, number)
    dataset.StudyInstanceUID = _uid(pseudonym, seed, "study")
    dataset.SeriesInstanceUID = _uid(pseudonym, seed, image.kind, "series")
    dataset.FrameOfReferenceUID = _uid(pseudonym, seed, "frame of reference")
    dataset.PatientID = dataset.PatientName = pseudonym
    dataset.StudyDate = dataset.StudyTime = dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.Modality = image.modality or "OT"
    dataset.SeriesNumber, dataset.InstanceNumber = "1", str(number)
    dataset.ImageType = ["DERIVED", "PRIMARY", "AXIAL"] if image.kind == "volume" else ["DERIVED", "PRIMARY"]
    dataset.Rows, dataset.Columns = plane.shape
    bits = plane.dtype.itemsize * 8
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, int(plane.dtype.kind == "i")
    stored = np.ascontiguousarray(plane, plane.dtype.newbyteorder("<")).tobytes()
    dataset.add_new("PixelData", "OW" if bits == 16 else "OB", stored + b"\0" * (len(stored) % 2))
    return dataset


def _uid(*parts: object) -> str:
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _decimals(values: Iterable[float]) -> list[DSfloat]:
    return [DSfloat(float(value) + 0.0, auto_format=True) for value in values]


def _save(dataset: Dataset, path: Path) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = (
        dataset.SOPClassUID,
        dataset.SOPInstanceUID,
    )
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta = meta
    with atomic_write(path) as file:
        dataset.save_as(file, enforce_file_format=True)

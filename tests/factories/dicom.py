"""Synthetic DICOM: single files, series, enhanced multi-frames and cines, with every oddity a test wants to name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence

SECRET = "SECRETIVE^PATIENT"  # pragma: allowlist secret
"""Stands in every identifying tag; must never come out of a reader."""
DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"
AXIAL = (1, 0, 0, 0, 1, 0)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)
SOP_CLASSES = {
    "CT": uid.CTImageStorage, "MR": uid.MRImageStorage, "PT": uid.PositronEmissionTomographyImageStorage,
    "DX": uid.DigitalXRayImageStorageForPresentation, "US": uid.UltrasoundImageStorage,
}  # fmt: skip


def dataset(pixels: np.ndarray, modality: str = "CT", **tags: Any) -> Dataset:
    """One DICOM object; `pixels` is (rows, columns), (frames, rows, columns) or (rows, columns, 3), stored as it is."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    made.SOPClassUID = SOP_CLASSES.get(modality, uid.SecondaryCaptureImageStorage)
    made.SOPInstanceUID = uid.generate_uid(
        entropy_srcs=[str(sorted(tags.items(), key=str)), pixels.tobytes().hex()]
    )
    made.PatientName = made.PatientID = made.InstitutionName = made.SeriesDescription = (
        made.StudyDescription
    ) = SECRET
    made.PatientBirthDate = "19010203"
    made.Modality, made.SeriesInstanceUID = modality, "1.2.3.4.5.666"
    colour = pixels.ndim >= 3 and pixels.shape[-1] == 3
    frames = pixels.ndim - (2 if not colour else 3)
    made.Rows, made.Columns = pixels.shape[frames : frames + 2]
    if frames:
        made.NumberOfFrames = pixels.shape[0]
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    bits = pixels.dtype.itemsize * 8
    made.BitsAllocated = made.BitsStored = bits
    made.HighBit, made.PixelRepresentation = bits - 1, int(pixels.dtype.kind == "i")
    set_tags(made, **tags)
    data = pixels.tobytes()
    made.add_new("PixelData", "OB" if bits == 8 else "OW", data + b"\0" * (len(data) % 2))
    return made


def set_tags(made: Dataset, **tags: Any) -> Dataset:
    """Set tags; None removes one. HighBit follows BitsStored."""
    for keyword, value in tags.items():
        if value is None:
            if keyword in made:
                del made[keyword]
        else:
            setattr(made, keyword, value)
    if "BitsStored" in tags and "HighBit" not in tags:
        made.HighBit = made.BitsStored - 1
    return made


def save(made: Dataset, path: Path, syntax: str = uid.ExplicitVRLittleEndian) -> Path:
    """Write one object, uncompressed ones in any native syntax."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if (
        made.file_meta.TransferSyntaxUID == DEFLATED_IMAGE_FRAME
    ):  # newer than pydicom, which will not name it itself
        made.file_meta.TransferSyntaxUID = uid.JPEGLSLossless  # a name of the same length
        made.save_as(path, enforce_file_format=True)
        named = uid.JPEGLSLossless.encode()
        path.write_bytes(path.read_bytes().replace(named, DEFLATED_IMAGE_FRAME.encode() + b"\0", 1))
        return path
    if made.file_meta.TransferSyntaxUID.is_encapsulated:
        made.save_as(path, enforce_file_format=True)
        return path
    made.file_meta.TransferSyntaxUID = syntax
    if syntax == uid.ExplicitVRBigEndian and made.BitsAllocated == 16:
        made.PixelData = np.frombuffer(made.PixelData, "<u2").astype(">u2").tobytes()
    made.save_as(path, enforce_file_format=True)
    return path


def transcode(path: Path, syntax: str) -> Path:
    """Compress a file in place with GDCM."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return path


def ct_slice(pixels: np.ndarray, position: Sequence[float], **tags: Any) -> Dataset:
    """One axial CT slice of 0.5 x 0.75 mm pixels, stored as HU + 1024."""
    placed: dict[str, Any] = {
        "ImagePositionPatient": [float(n) for n in position], "ImageOrientationPatient": list(AXIAL),
        "PixelSpacing": [0.5, 0.75], "SliceThickness": 2, "RescaleSlope": 1, "RescaleIntercept": -1024,
    }  # fmt: skip
    return dataset(pixels, **{**placed, **tags})


def stored_volume(slices: int = 5, rows: int = 6, columns: int = 7, seed: int = 0) -> np.ndarray:
    """Stored values of a small CT, all different along every axis."""
    return np.random.default_rng(seed).integers(0, 3000, (slices, rows, columns)).astype(np.uint16)


def ct_series(
    folder: Path,
    stored: np.ndarray,
    positions: Sequence[Sequence[float]] | None = None,
    instance_numbers: Sequence[int] | None = None,
    **tags: Any,
) -> Path:
    """Write a series; file names follow instance numbers, which need not follow positions."""
    positions = positions or [(-10.0, -20.0, 30.0 + 2.0 * k) for k in range(len(stored))]
    numbers = instance_numbers or list(range(1, len(stored) + 1))
    for plane, position, number in zip(stored, positions, numbers, strict=True):
        save(ct_slice(plane, position, InstanceNumber=number, **tags), folder / f"IM{number:04d}")
    return folder


def item(**tags: Any) -> DicomSequence:
    """A sequence of one item."""
    return DicomSequence([set_tags(Dataset(), **tags)])


def enhanced(
    stored: np.ndarray,
    modality: str = "CT",
    positions: Sequence[Sequence[float]] | None = None,
    orientation: Sequence[float] = AXIAL,
    rescale: Sequence[tuple[float, float]] | None = None,
    times: Sequence[int] | None = None,
) -> Dataset:
    """An enhanced multi-frame object; `rescale` a frame is per frame, a single one is shared, None leaves it out."""
    made = dataset(stored, modality)
    made.SOPClassUID = uid.EnhancedCTImageStorage if modality == "CT" else uid.EnhancedMRImageStorage
    positions = positions or [(0.0, 0.0, 3.0 * k) for k in range(len(stored))]
    shared = Dataset()
    shared.PixelMeasuresSequence = item(PixelSpacing=[0.5, 0.75], SliceThickness=3)
    shared.PlaneOrientationSequence = item(ImageOrientationPatient=list(orientation))
    if rescale is not None and len(rescale) == 1:
        shared.PixelValueTransformationSequence = _transformation(*rescale[0])
    made.SharedFunctionalGroupsSequence = DicomSequence([shared])
    made.PerFrameFunctionalGroupsSequence = DicomSequence(
        [
            _per_frame(
                position, rescale[k] if rescale and len(rescale) > 1 else None, times[k] if times else None
            )
            for k, position in enumerate(positions)
        ]
    )
    return made


def _per_frame(position: Sequence[float], rescale: tuple[float, float] | None, time: int | None) -> Dataset:
    own = Dataset()
    own.PlanePositionSequence = item(ImagePositionPatient=[float(n) for n in position])
    if rescale is not None:
        own.PixelValueTransformationSequence = _transformation(*rescale)
    if time is not None:
        own.FrameContentSequence = item(TemporalPositionIndex=time)
    return own


def _transformation(slope: float, intercept: float) -> DicomSequence:
    return item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="HU")

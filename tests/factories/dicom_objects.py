"""Synthetic DICOM objects beyond plain slices: segmentations, maps, SPECT, mosaics, dose grids, whole slides."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import highdicom as hd
import numpy as np
from pydicom import uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence as DicomSequence
from pydicom.sr.codedict import codes
from pydicom.tag import Tag

from tests.factories import dicom as make

ABOUT: dict[str, Any] = {
    "manufacturer": "none", "manufacturer_model_name": "none", "software_versions": "1", "device_serial_number": "1",
    "series_number": 7, "instance_number": 1,
}  # fmt: skip


def set_unchecked(made: Dataset, keyword: str, value: Any) -> None:
    """Set decimal strings as a careless writer does, whatever they say."""
    text = "\\".join(map(str, value if isinstance(value, list) else [value])).encode()
    text += b" " * (len(text) % 2)
    tag = Tag(keyword)
    made[tag] = RawDataElement(tag, "DS", len(text), text, 0, False, True)


def sources(count: int, size: int = 12, step: float = 2.5) -> list[Dataset]:
    """CT slices for an object to refer to, with all that highdicom asks of them."""
    slices = []
    for k in range(count):
        made = make.ct_slice(
            np.full((size, size), 1024 + k, np.uint16), (0, 0, step * k), InstanceNumber=k + 1, SeriesNumber=1,
            StudyInstanceUID="1.2.3.9", FrameOfReferenceUID="1.2.3.10", PatientSex="", AccessionNumber="", StudyID="",
            StudyDate="", StudyTime="", ReferringPhysicianName="", PositionReferenceIndicator="", Manufacturer="",
            SOPInstanceUID=uid.generate_uid(entropy_srcs=[str(k)]), PixelSpacing=[1, 1], SliceThickness=step,
        )  # fmt: skip
        slices.append(made)
    return slices


def segmentation(
    slices: list[Dataset], pixels: np.ndarray, kind: str, names: Sequence[str] = ("liver",), **tags: Any
) -> Dataset:
    """A segmentation made by highdicom."""
    described = [
        hd.seg.SegmentDescription(
            number, name, codes.SCT.Tissue, codes.SCT.Tissue, hd.seg.SegmentAlgorithmTypeValues.MANUAL
        )
        for number, name in enumerate(names, 1)
    ]
    return hd.seg.Segmentation(
        source_images=slices, pixel_array=pixels, segmentation_type=kind, segment_descriptions=described,
        series_instance_uid=hd.UID(), sop_instance_uid=hd.UID(), **ABOUT, **tags,
    )  # fmt: skip


def parametric_map(
    slices: list[Dataset], pixels: np.ndarray, slope: float = 0.001, intercept: float = -1.0, unit: Any = None
) -> Dataset:
    """A parametric map made by highdicom, its values given by a mapping."""
    whole = pixels.dtype.kind == "u"
    mapping = hd.pm.RealWorldValueMapping(
        lut_label="1", lut_explanation="index", unit=unit or codes.UCUM.NoUnits, slope=slope, intercept=intercept,
        value_range=[0, 65535] if whole else [-1e6, 1e6],
    )  # fmt: skip
    return hd.pm.ParametricMap(
        source_images=slices, pixel_array=pixels, series_instance_uid=hd.UID(), sop_instance_uid=hd.UID(), **ABOUT,
        contains_recognizable_visual_features=False, real_world_value_mappings=[mapping], window_center=0.5,
        window_width=1.0,
    )  # fmt: skip


def real_world(slope: float | None, intercept: float | None, unit: str, **tags: Any) -> DicomSequence:
    """A Real World Value Mapping Sequence of one item."""
    mapping = make.item(
        LUTLabel="map", RealWorldValueSlope=slope, RealWorldValueIntercept=intercept,
        MeasurementUnitsCodeSequence=make.item(CodeValue=unit, CodingSchemeDesignator="UCUM", CodeMeaning="unit"),
    )  # fmt: skip
    for keyword, value in tags.items():
        mapping[0].add_new(
            keyword, "US" if keyword.startswith("RealWorldValue") and np.isscalar(value) else "FD", value
        )
    return mapping


def spect(stored: np.ndarray, step: float = -4.4, **tags: Any) -> Dataset:
    """A reconstructed SPECT: orientation and first position lie in the detector's information."""
    count = len(stored)
    made = make.dataset(
        stored, "NM", ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"], PixelSpacing=[4.4, 4.4],
        SpacingBetweenSlices=step, SliceVector=list(range(1, count + 1)), FrameIncrementPointer=0x00540080, **tags,
    )  # fmt: skip
    made.SOPClassUID = uid.NuclearMedicineImageStorage
    made.DetectorInformationSequence = make.item(
        ImageOrientationPatient=list(make.AXIAL), ImagePositionPatient=[-40.0, -40.0, 100.0]
    )
    return made


def mosaic(
    slices: np.ndarray, position: Sequence[float] = (0, 0, 20), step: float = 4.0, **tags: Any
) -> Dataset:
    """A Siemens mosaic of slices whose first one lies at `position`; private elements say how many there are."""
    count, rows, columns = slices.shape
    side = math.ceil(math.sqrt(count))
    sheet = np.zeros((side * rows, side * columns), slices.dtype)
    for number, one in enumerate(slices):
        row, column = number // side * rows, number % side * columns
        sheet[row : row + rows, column : column + columns] = one
    corner = [
        position[0] - 3 * columns * (side - 1) / 2,
        position[1] - 3 * rows * (side - 1) / 2,
        position[2],
    ]
    placed: dict[str, Any] = {
        "ImagePositionPatient": corner, "ImageOrientationPatient": list(make.AXIAL), "PixelSpacing": [3, 3],
        "SliceThickness": 3, "SpacingBetweenSlices": step,
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "MB", "ND", "MOSAIC"],
    }  # fmt: skip
    made = make.dataset(sheet, "MR", **{**placed, **tags})
    block = made.private_block(0x0019, "SIEMENS MR HEADER", create=True)
    block.add_new(0x0A, "US", count)
    return made


def csa_header(**values: Sequence[float]) -> bytes:
    """An image header of Siemens (CSA2), as far as a reader looks at it."""
    out = b"SV10\4\3\2\1" + len(values).to_bytes(4, "little") + (77).to_bytes(4, "little")
    for name, numbers in values.items():
        vm, count = len(numbers).to_bytes(4, "little"), len(numbers).to_bytes(4, "little")
        out += name.encode().ljust(64, b"\0") + vm + b"FD\0\0" + (0).to_bytes(4, "little") + count
        out += (77).to_bytes(4, "little")
        for number in numbers:
            text = f"{number:.8f}".encode().ljust(16, b"\0")
            out += (
                (0).to_bytes(4, "little")
                + len(text).to_bytes(4, "little") * 2
                + (77).to_bytes(4, "little")
                + text
            )
    return out


def dose(stored: np.ndarray, offsets: Sequence[float], **tags: Any) -> Dataset:
    """A dose grid."""
    made = make.dataset(
        stored, "RTDOSE", ImagePositionPatient=[0, 0, 50], ImageOrientationPatient=list(make.AXIAL), DoseUnits="GY",
        PixelSpacing=[2, 2], DoseGridScaling=0.01, GridFrameOffsetVector=list(offsets), **tags,
    )  # fmt: skip
    made.SOPClassUID = uid.RTDoseStorage
    return made


def slide(
    pixels: np.ndarray, tile: int = 8, *, sparse: bool = False, leave_out: int = 0, **tags: Any
) -> Dataset:
    """One level of a whole slide, cut into tiles; sparse tiles say where they lie and come last first."""
    down, across = (math.ceil(side / tile) for side in pixels.shape[:2])
    padded = np.zeros((down * tile, across * tile, 3), np.uint8)
    padded[: pixels.shape[0], : pixels.shape[1]] = pixels
    corners = [(row * tile, column * tile) for row in range(down) for column in range(across)]
    if sparse:
        corners = corners[::-1][leave_out:]
    tiles = np.stack([padded[r : r + tile, c : c + tile] for r, c in corners])
    made = make.dataset(
        tiles, "SM", ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], TotalPixelMatrixRows=pixels.shape[0],
        TotalPixelMatrixColumns=pixels.shape[1], DimensionOrganizationType="TILED_SPARSE" if sparse else "TILED_FULL",
        **tags,
    )  # fmt: skip
    made.SOPClassUID = uid.VLWholeSlideMicroscopyImageStorage
    shared = Dataset()
    shared.PixelMeasuresSequence = make.item(PixelSpacing=[0.001, 0.001], SliceThickness=0.001)
    made.SharedFunctionalGroupsSequence = DicomSequence([shared])
    if sparse:
        places = [
            make.item(RowPositionInTotalImagePixelMatrix=r + 1, ColumnPositionInTotalImagePixelMatrix=c + 1)
            for r, c in corners
        ]
        own = [make.item(PlanePositionSlideSequence=place)[0] for place in places]
        made.PerFrameFunctionalGroupsSequence = DicomSequence(own)
    return made


def deflated(made: Dataset) -> Dataset:
    """The same object with each frame deflated by itself."""
    import zlib

    frames = int(made.get("NumberOfFrames", 1))
    size = len(made.PixelData) // frames
    chunks = []
    for number in range(frames):
        packer = zlib.compressobj(wbits=-15)
        chunks.append(packer.compress(made.PixelData[number * size : (number + 1) * size]) + packer.flush())
    made.PixelData = encapsulate([chunk + b"\0" * (len(chunk) % 2) for chunk in chunks])
    made["PixelData"].VR, made["PixelData"].is_undefined_length = "OB", True
    made.file_meta.TransferSyntaxUID = uid.UID("1.2.840.10008.1.2.8.1")
    return made


def segmented_slide(source: Dataset, masks: np.ndarray, kind: str, layout: str) -> hd.seg.Segmentation:
    """A segmentation of a whole slide in tiles: `masks` `(1, rows, columns, segments)`, empty tiles left out where sparse."""
    for name in (
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyID",
        "StudyDate",
    ):
        setattr(source, name, "")
    source.StudyTime = source.ReferringPhysicianName = ""
    source.StudyInstanceUID = uid.generate_uid()
    source.FrameOfReferenceUID, source.PositionReferenceIndicator = uid.generate_uid(), "SLIDE_CORNER"
    source.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    source.TotalPixelMatrixOriginSequence = make.item(
        XOffsetInSlideCoordinateSystem=10.0, YOffsetInSlideCoordinateSystem=20.0
    )
    source.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices = 0.001
    source.ContainerIdentifier = "c"
    source.IssuerOfTheContainerIdentifierSequence = source.ContainerTypeCodeSequence = DicomSequence([])
    source.SpecimenDescriptionSequence = DicomSequence([hd.SpecimenDescription("s", uid.generate_uid())])
    source.TotalPixelMatrixFocalPlanes = source.NumberOfOpticalPaths = 1
    organs = (codes.SCT.Lung, codes.SCT.Heart)
    segments = [
        hd.seg.SegmentDescription(number, f"part {number}", codes.SCT.Organ, organ, "MANUAL")
        for number, organ in enumerate(organs, 1)
    ]
    return hd.seg.Segmentation(
        [source], masks * 0.5 if kind == "FRACTIONAL" else masks, kind, segments, uid.generate_uid(), 2, uid.generate_uid(), 1,
        "m", "mm", "1", "sn", tile_pixel_array=True, tile_size=(16, 16), dimension_organization_type=layout,
        omit_empty_frames=layout == "TILED_SPARSE",
    )  # fmt: skip

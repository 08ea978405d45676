"""Marks: what a file says about the scan that a frame belongs to, wherever a classic or enhanced object keeps it.

A mark of `SCAN_MARKS` or `TIME_MARKS` is the same in all slices of one scan, so that slices that differ in it are
different scans. The others may vary from slice to slice, and only tell apart what lies at one place.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medmvl.imaging.dicom_header import DicomFile
from medmvl.imaging.dicom_tags import (
    ACQUISITION_DAY,
    GE_B_VALUE,
    IDENTITY,
    NUMBERS,
    PHILIPS_B_VALUE,
    SIEMENS_B_VALUE,
)
from medmvl.imaging.dicom_values import PARSER_ERRORS, TagValue, tag_value


class Mark(NamedTuple):
    """One fact: where a file keeps it, and how far two numbers of one scan may differ."""

    keyword: str = ""
    """Keyword at the top of the file."""
    group: str = ""
    """Functional group of an enhanced object."""
    inner: str = ""
    """Keyword within the group."""
    absolute: float = 0.0
    relative: float = 1e-4
    varies: bool = True
    """True where writers are known to let it vary with every slice of one scan."""


MARKS = {
    "series number": Mark("SeriesNumber"),
    "kernel": Mark("ConvolutionKernel", "CTReconstructionSequence", "ConvolutionKernel", varies=False),
    "thickness": Mark("SliceThickness", "PixelMeasuresSequence", "SliceThickness", 0.06, 0.02),
    "tube voltage": Mark("KVP", "CTXRayDetailsSequence", "KVP", 1.0, varies=False),
    "patient position": Mark("PatientPosition", varies=False),
    "contrast agent": Mark("ContrastBolusAgent", varies=False),
    "image type": Mark(varies=False),
    "corrections": Mark("CorrectedImage", varies=False),
    "dose": Mark("DoseSummationType", varies=False),
    "SUV type": Mark("SUVType", varies=False),
    "decay correction": Mark("DecayCorrection", varies=False),
    "flip angle": Mark("FlipAngle", "MRTimingAndRelatedParametersSequence", "FlipAngle", 0.5),
    "real world value": Mark("RealWorldValueMappingSequence", varies=False),
    "stack": Mark("", "FrameContentSequence", "StackID", varies=False),
    "segment": Mark("", "SegmentIdentificationSequence", "ReferencedSegmentNumber", varies=False),
    "optical path": Mark("", "OpticalPathIdentificationSequence", "OpticalPathIdentifier", varies=False),
    "focal plane": Mark("", "PlanePositionSlideSequence", "ZOffsetInSlideCoordinateSystem"),
    "energy window": Mark(varies=False),
    "detector": Mark(varies=False),
    "time": Mark("TemporalPositionIdentifier", "FrameContentSequence", "TemporalPositionIndex"),
    "time offset": Mark("TemporalPositionTimeOffset", "TemporalPositionSequence", "TemporalPositionTimeOffset"),
    "echo time": Mark("EchoTime", "MREchoSequence", "EffectiveEchoTime", 5e-3, 1e-3),
    "b value": Mark("DiffusionBValue", "MRDiffusionSequence", "DiffusionBValue", 0.5),
    "inversion time": Mark("InversionTime", "MRModifierSequence", "InversionTimes", 0.5),
    "cardiac phase": Mark(
        "NominalPercentageOfCardiacPhase", "CardiacSynchronizationSequence", "NominalPercentageOfCardiacPhase"
    ),
    "respiratory phase": Mark(
        "NominalPercentageOfRespiratoryPhase", "RespiratorySynchronizationSequence", "NominalPercentageOfRespiratoryPhase"
    ),
    "diffusion direction": Mark("DiffusionGradientOrientation"),
    "trigger time": Mark("TriggerTime", "CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "reference time": Mark("FrameReferenceTime"),
    "acquisition": Mark("AcquisitionNumber", "FrameContentSequence", "FrameAcquisitionNumber"),
    "whole image type": Mark(),
    "rescale type": Mark("RescaleType", "PixelValueTransformationSequence", "RescaleType"),
    ACQUISITION_DAY: Mark(varies=False),
    "repetition time": Mark("RepetitionTime", "MRTimingAndRelatedParametersSequence", "RepetitionTime", 0.5, 1e-3),
    "field strength": Mark("MagneticFieldStrength", relative=0.05),
    "receive coil": Mark("ReceiveCoilName"),
    "sequence name": Mark("SequenceName"),
    "scanning sequence": Mark("ScanningSequence"),
    "sequence variant": Mark("SequenceVariant"),
    "scan options": Mark("ScanOptions"),
    "averages": Mark("NumberOfAverages"),
    "echo train": Mark("EchoTrainLength"),
    "bandwidth": Mark("PixelBandwidth", relative=0.01),
    "pitch": Mark("SpiralPitchFactor"),
    "rotation time": Mark("RevolutionTime", relative=0.01),
    "field of view": Mark("ReconstructionDiameter", relative=0.01),
    "tilt": Mark("GantryDetectorTilt", absolute=0.05),
    "dimension": Mark(),
    "acquisition clock": Mark("AcquisitionTime", "FrameContentSequence", "FrameAcquisitionDateTime"),
    "content clock": Mark("ContentTime"),
    "instance": Mark("InstanceNumber"),
}  # fmt: skip

SCAN_MARKS = (
    "series number", "kernel", "thickness", "tube voltage", "patient position", "contrast agent", "image type",
    "corrections", "dose", "SUV type", "decay correction",
    "flip angle", "real world value", "stack", "segment", "optical path", "focal plane",
    "energy window", "detector",
)  # fmt: skip
"""Marks of a scan: slices that differ in one are of different scans."""
TIME_MARKS = (
    "time",
    "time offset",
    "echo time",
    "b value",
    "inversion time",
    "cardiac phase",
    "respiratory phase",
)
"""Marks of a time point: slices that differ in one are different images of one scan: `#time=N` chooses among them."""
SETTINGS = (
    ACQUISITION_DAY, "repetition time", "field strength", "receive coil", "sequence name", "scanning sequence",
    "sequence variant", "scan options", "averages", "echo train", "bandwidth", "pitch", "rotation time", "field of view",
    "tilt",
)  # fmt: skip
"""Settings of the scanner. Single slices of one scan may differ in one; where two values take turns slice by slice, they
are two scans."""
TELLING_APART = (
    *TIME_MARKS[:4], "diffusion direction", *TIME_MARKS[4:], "trigger time", "reference time", "acquisition",
    "whole image type", "rescale type", *SETTINGS, "dimension", "acquisition clock", "content clock",
)  # fmt: skip
"""What may tell two images of one place apart, most meaningful first; the clock comes last."""
CLOCKS = ("reference time", "trigger time", "acquisition clock", "content clock", "instance")
"""What may order the images of one place where each slice has its own."""

VALUE_TYPES = {
    "magnitude": ("M", "MAGNITUDE", "M_FFE", "M_SE", "M_IR"),
    "phase": ("P", "PHASE", "PHASE MAP", "PHASE_MAP", "P_FFE", "VELOCITY", "VELOCITY MAP"),
    "real": ("R", "REAL", "R_FFE", "R_SE", "R_IR"),
    "imaginary": ("I", "IMAGINARY", "I_FFE", "I_SE", "I_IR"),
    "water": ("W", "WATER"), "fat": ("F", "FAT"), "in phase": ("IP", "IN_PHASE", "IN PHASE"),
    "opposed phase": ("OP", "OUT_PHASE", "OPP_PHASE", "OPPOSED_PHASE", "OUT PHASE"),
    "fat fraction": ("FF", "FAT_FRACTION", "FATFRAC"), "ADC": ("ADC", "ADC_UNSPECIFIED"), "eADC": ("EADC", "EXP_ADC"),
    "trace": ("TRACEW", "TRACE", "ISOTROPIC"), "FA": ("FA", "FRACTIONAL_ANISOTROPY"),
    "T1": ("T1", "T1 MAP", "T1_MAP"), "T2": ("T2", "T2 MAP", "T2_MAP"), "T2*": ("T2_STAR", "T2STAR", "T2_STAR MAP"),
    "R2": ("R2", "R2 MAP", "R2_MAP"), "R2*": ("R2_STAR", "R2STAR"), "B0": ("B0", "B0 MAP", "FIELD MAP", "FIELD_MAP"),
    "perfusion": ("PERFUSION", "PERFUSION MAP"), "CBF": ("CBF", "RCBF", "RELCBF"), "CBV": ("CBV", "RCBV", "RELCBV"),
    "MTT": ("MTT", "RMTT"), "TTP": ("TTP",), "Tmax": ("TMAX",), "K trans": ("KTRANS",),
    "maximum intensity projection": ("MIP", "MAX_IP", "PROJECTION IMAGE", "MAXIMUM"),
    "minimum intensity projection": ("MINIP", "MIN_IP", "MNIP", "MINIMUM"),
    "average": ("AVERAGE", "AVG", "MEAN"), "reformatted": ("MPR", "CPR", "CURVED_MPR"),
    "subtraction": ("SUBTRACTION", "SUB", "SUBTRACT"), "virtual non-contrast": ("VNC", "VIRTUAL_NON_CONTRAST", "VUE"),
    "monoenergetic": ("MONOENERGETIC", "VMI", "MONO", "MONO_ENERGY", "MONOE", "MONOCHROMATIC"),
    "iodine": ("IODINE", "IODINE_MAP", "IODINE DENSITY", "IOD"), "water density": ("WATER_DENSITY",),
    "material-specific": ("MAT_SPECIFIC",), "material-removed": ("MAT_REMOVED",), "material fraction": ("MAT_FRACTIONAL",),
    "material-modified": ("MAT_MODIFIED",), "material values": ("MAT_VALUE_BASED",),
    "effective atomic number": ("EFF_ATOMIC_NUM", "Z_EFF", "RHO_Z"), "electron density": ("ELECTRON_DENSITY", "ED"),
    "standard deviation": ("STD", "STDDEV", "STD_DEVIATION"),
}  # fmt: skip
"""Terms of Image Type and Frame Type that say what the values are; others, such as NORM or HELIX, say how they were made."""
_TYPE_OF_TERM = {term: type for type, terms in VALUE_TYPES.items() for term in terms}
NOT_HOUNSFIELD = frozenset(VALUE_TYPES) - {
    "magnitude", "maximum intensity projection", "minimum intensity projection", "average", "reformatted",
}  # fmt: skip
"""Types of values that are not attenuation in Hounsfield units, unless the file says that they are."""
SUV_TYPES = {"BW": "body weight", "LBM": "lean body mass", "LBMJAMES128": "lean body mass", "LBMJANMA": "lean body mass",
             "BSA": "body surface", "IBW": "ideal body weight"}  # fmt: skip
"""Terms of SUV Type (PS3.3 C.8.9.1.1.3); none means body weight."""
_COMPONENTS = {"MAGNITUDE", "PHASE", "REAL", "IMAGINARY"}
_PLACE_POINTERS = {int(NUMBERS[name]) for name in ("ImagePositionPatient", "SliceLocation", "StackID")} | {
    0x00209057
}


def mark_value(name: str, file: DicomFile, own: Dataset, shared: Dataset) -> float | str | None:
    """Return what a file says of a mark, for the frame with these functional groups."""
    if name in _SPECIAL:
        return _SPECIAL[name](file, own, shared)
    mark = MARKS[name]
    return _plain(in_groups(own, shared, mark.group, mark.inner) if mark.group else None, file, mark.keyword)


def same_raw(name: str, files: Sequence[DicomFile]) -> bool:
    """Whether all files were written with the same bytes for a mark, so that nothing needs parsing to compare them."""
    if name == ACQUISITION_DAY:
        return len({file.identity[_DAY] for file in files}) == 1
    tags = [NUMBERS[MARKS[name].keyword]] if MARKS[name].keyword else []
    tags += _SPECIAL_TAGS.get(name, [])
    return all(len({_written(file, tag) for file in files}) == 1 for tag in tags)


def _written(file: DicomFile, tag: int) -> bytes | int | None:
    """The bytes of an element, None where there is none; what is no plain element is unlike any other."""
    return file.raw.get(tag, id(file) if tag in file.header.keys() else None)  # noqa: SIM118


def image_type(file: DicomFile, own: Dataset, shared: Dataset) -> tuple[str, ...]:
    """Return the terms of Frame Type or Image Type."""
    for group in (
        "CTImageFrameTypeSequence",
        "MRImageFrameTypeSequence",
        "PETFrameTypeSequence",
        "XRay3DFrameTypeSequence",
        "ParametricMapFrameTypeSequence",
    ):
        found = in_groups(own, shared, group, "FrameType")
        if found is not None:
            return _terms(found)
    return _terms(file.value("ImageType"))


def value_types(terms: Sequence[str]) -> tuple[str, ...]:
    """Return the names of `VALUE_TYPES` that terms of an Image Type stand for."""
    return tuple(sorted({_TYPE_OF_TERM[term] for term in terms if term in _TYPE_OF_TERM}))


def types_within(terms: Sequence[str]) -> tuple[str, ...]:
    """Return the names of `VALUE_TYPES` that words within compound terms stand for, such as PERFUSION_CBF or VMI_70."""
    words = {word for term in terms for word in re.split(r"[^A-Z]+", term) if len(word) > 2}
    return tuple(sorted({_TYPE_OF_TERM[word] for word in words if word in _TYPE_OF_TERM}))


def in_groups(own: Dataset, shared: Dataset, group: str, keyword: str) -> TagValue:
    """Return a value of a frame's own functional group, else of the shared one, else None."""
    for source in (own, shared):
        items = tag_value(source, group)
        found = tag_value(items[0], keyword) if items else None
        if found is not None:
            return found
    return None


def _terms(found: TagValue) -> tuple[str, ...]:
    several = () if found is None else (found,) if isinstance(found, str) else found
    return tuple(str(term).strip().upper() for term in several)


def _plain(found: TagValue, file: DicomFile, keyword: str) -> float | str | None:
    found = file.value(keyword) if found is None and keyword else found
    if found is None:
        return None
    if isinstance(found, (list, tuple, MultiValue)):
        return "\\".join(str(part).strip() for part in found)
    try:
        return float(found)
    except PARSER_ERRORS:
        return str(found).strip() or None


def _value_types(file: DicomFile, own: Dataset, shared: Dataset) -> float | str | None:
    terms = image_type(file, own, shared)
    component = in_groups(own, shared, "MRImageFrameTypeSequence", "ComplexImageComponent")
    component = str(component or file.value("ComplexImageComponent") or "").strip().upper()
    types = value_types((*terms, component) if component in _COMPONENTS else terms)
    return ", ".join(type for type in types if type != "magnitude") if terms or component else None


def _whole_type(file: DicomFile, own: Dataset, shared: Dataset) -> float | str | None:
    return "\\".join(image_type(file, own, shared)) or None


def _b_value(file: DicomFile, own: Dataset, shared: Dataset) -> float | str | None:
    mark = MARKS["b value"]
    found = _plain(in_groups(own, shared, mark.group, mark.inner), file, mark.keyword)
    if found is not None:
        return found
    for tag in (SIEMENS_B_VALUE, PHILIPS_B_VALUE, GE_B_VALUE):
        value = file.private(tag)
        number = _first_number(value)
        if number is not None:
            return number % 1e9 if tag == GE_B_VALUE else number  # GE adds 10^9 (dcm2niix)
    return None


def _first_number(value: TagValue) -> float | None:
    """Return the first number of a private element, whose type may be lost (VR UN)."""
    if isinstance(value, bytes):
        if len(value) == 4 and not value.strip().isdigit():
            return round(float(struct.unpack("<f", value)[0]), 3)
        value = value.decode("ascii", "replace").strip(" \0").split("\\")
    first = value[0] if isinstance(value, (list, tuple, MultiValue)) and value else value
    try:
        return None if first is None else float(first)
    except PARSER_ERRORS:
        return None


def _real_world(file: DicomFile, own: Dataset, shared: Dataset) -> float | str | None:
    """Return units and label of the mappings: slope and intercept may vary with the slice, as a rescale may."""
    for source in (own, shared, file.header):
        items = tag_value(source, "RealWorldValueMappingSequence")
        if items:
            return "; ".join(
                sorted(f"{units_code(item)} {tag_value(item, 'LUTLabel') or ''}" for item in items)
            )
    return None


def units_code(mapping: Dataset) -> str:
    """Return the code of a mapping's units, such as `mm2/s` of UCUM."""
    codes = tag_value(mapping, "MeasurementUnitsCodeSequence")
    return str(tag_value(codes[0], "CodeValue") or "").strip() if codes else ""


def _dimension(file: DicomFile, own: Dataset, shared: Dataset) -> float | str | None:
    """Return the frame's place in the dimensions of the object that are not places in the patient."""
    pointers, values = (
        file.value("DimensionIndexSequence"),
        in_groups(own, shared, "FrameContentSequence", "DimensionIndexValues"),
    )
    if pointers is None or values is None:
        return None
    values = list(values) if isinstance(values, (list, tuple, MultiValue)) else [values]
    kept = [
        str(value)
        for pointer, value in zip(pointers, values, strict=False)
        if int(tag_value(pointer, "DimensionIndexPointer") or 0) not in _PLACE_POINTERS
    ]
    return "\\".join(kept) or None


def _direction(file: DicomFile, own: Dataset, shared: Dataset) -> float | str | None:
    inner = in_groups(own, shared, "MRDiffusionSequence", "DiffusionGradientDirectionSequence")
    found = tag_value(inner[0], "DiffusionGradientOrientation") if inner else None
    return _plain(found, file, "DiffusionGradientOrientation")


def _day(file: DicomFile, own: Dataset, shared: Dataset) -> float | str | None:
    """Return a number that stands for the day, and no date."""
    return str(file.identity[_DAY]) if file.identity and file.identity[_DAY] else None


_DAY = [name for name, keywords in IDENTITY.items() for _ in keywords].index(ACQUISITION_DAY)
_SPECIAL: dict[str, Callable[[DicomFile, Dataset, Dataset], float | str | None]] = {
    "image type": _value_types, "whole image type": _whole_type, "b value": _b_value, "diffusion direction": _direction,
    "real world value": _real_world, "dimension": _dimension, ACQUISITION_DAY: _day,
}  # fmt: skip
_SPECIAL_TAGS = {
    "image type": [NUMBERS["ImageType"], NUMBERS["ComplexImageComponent"]],
    "whole image type": [NUMBERS["ImageType"]],
    "b value": [SIEMENS_B_VALUE, GE_B_VALUE, PHILIPS_B_VALUE],
}

"""Whether what a header says of colours can be read as it says: photometric interpretation, samples, planes, video."""

from __future__ import annotations

from pydicom import uid

from medmvl.errors import ReadError
from medmvl.imaging.dicom_header import MODALITIES, DicomFile

GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "XYB")
"""Three samples per pixel that decoders turn into RGB (PS3.3 C.7.6.3.1.2)."""
_RETIRED = ("HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420")
_FOR_PROCESSING = (
    uid.DigitalXRayImageStorageForProcessing,
    uid.DigitalMammographyXRayImageStorageForProcessing,
    uid.DigitalIntraOralXRayImageStorageForProcessing,
)


def colour_notes(file: DicomFile) -> tuple[str, ...]:
    """Check what a header says of colours, and return what was assumed.

    Raises:
        ReadError: for video and for colours that would be read wrong.
    """
    if file.syntax in uid.MPEGTransferSyntaxes or file.syntax.name.startswith("SMPTE"):
        raise ReadError(
            f"the pixels are a video ({file.syntax.name}), which is not read: write its frames as images"
        )
    return (*_modality_notes(file), *_photometric_notes(file))


def _modality_notes(file: DicomFile) -> tuple[str, ...]:
    """Say what the modality was taken by where the file does not name one, and that a volume is none of the patient's."""
    notes: tuple[str, ...] = ()
    if file.text("Modality").upper() not in MODALITIES and file.modality is not None:
        notes = (f"the file names no known Modality: {file.modality} was taken, by its SOP Class",)
    if file.text("VolumetricProperties").upper() == "DISTORTED":
        notes += (
            "the file says that its planes are distorted (Volumetric Properties): lengths and places do not hold",
        )
    return notes


def _photometric_notes(file: DicomFile) -> tuple[str, ...]:
    samples, said = file.integer("SamplesPerPixel", 1), file.text("PhotometricInterpretation").upper()
    shown = (
        said
        if said in (*GREY, *COLOUR, *_RETIRED, "PALETTE COLOR")
        else "of an unknown term"
        if said
        else "missing"
    )
    if samples > 1:
        return _of_samples(file, samples, said, shown)
    notes: tuple[str, ...] = ()
    if said not in (*GREY, "PALETTE COLOR") and file.pixel_keyword == "PixelData":
        notes = (
            f"the Photometric Interpretation is {shown}, for one sample per pixel: large values were taken as white",
        )
    if said in GREY and file.text("PixelPresentation").upper() in ("COLOR", "MIXED"):
        notes += (
            "the image has colours over its grey values (a supplemental palette, as of a Doppler): it was read as grey, and "
            "the coloured places are grey values of no meaning",
        )
    if file.text("SOPClassUID") in _FOR_PROCESSING or file.text("PresentationIntentType") == "FOR PROCESSING":
        notes += (
            "the radiograph is FOR PROCESSING: values of the detector, which look other than the image that is reported",
        )
    return notes


def _of_samples(file: DicomFile, samples: int, said: str, shown: str) -> tuple[str, ...]:
    if samples == 4 or said in _RETIRED:
        raise ReadError(
            f"the pixels have {samples} samples, Photometric Interpretation {shown}, which is not read: write RGB"
        )
    if file.integer("PixelRepresentation"):
        raise ReadError(
            "the colours have negative values (Pixel Representation 1): no colours are known of such numbers"
        )
    notes: tuple[str, ...] = ()
    if said not in COLOUR:
        notes = (
            f"the Photometric Interpretation is {shown}, for three samples per pixel: they were taken as RGB",
        )
    if not file.encapsulated and file.value("PlanarConfiguration") is None:
        notes += ("the header has no Planar Configuration: colours were taken pixel by pixel",)
    return notes


def without_pixels(file: DicomFile) -> str:
    """Say of an object without pixels what it is, by the name of its SOP class where that is a known one."""
    if file.path.name.upper().startswith("DICOMDIR"):
        return "this is a DICOMDIR, the index of the files next to it, and holds no pixels: name the folder that it lies in"
    said = uid.UID(file.text("SOPClassUID"))
    known = f" ({said.name})" if said and said.name != said else ""
    what = "a report, plan, structure, waveform or index, or the file is cut off"
    return f"the DICOM object{known or ''} holds no pixels{'' if known else f' ({what})'}"

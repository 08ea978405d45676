"""What stored values mean, frame by frame: Hounsfield units, a modality's own, a real world mapping, or nothing known.

A volume has one meaning. Where its frames differ in it, one of them is named and nothing is read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medmvl.errors import ReadError
from medmvl.imaging.dicom_frames import Frame
from medmvl.imaging.dicom_header import DicomFile, naming
from medmvl.imaging.dicom_marks import (
    NOT_HOUNSFIELD,
    SUV_TYPES,
    image_type,
    types_within,
    units_code,
    value_types,
)
from medmvl.imaging.dicom_values import lut_entries, tag_floats, tag_value

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary Capture Image Storage, whose other classes begin with it."""
PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
X_RAY_3D = "1.2.840.10008.5.1.4.1.1.13.1."
"""How the SOP classes of X-ray 3D images begin: of angiography, of the skull, of the breast."""
_OF_ATTENUATION = frozenset(
    ["monoenergetic", "virtual non-contrast", "subtraction", "material-removed", "water", "in phase"]
)
"""Types of values that are Hounsfield units where the file says so."""
QUANTITIES = frozenset(["CT", "PT", "NM", "RTDOSE", "SEG"])
"""Modalities whose stored values measure something, whatever they are shown as."""
RESCALE_TYPES = frozenset(["OD", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT"])
"""Terms of Rescale Type (PS3.3 C.11.1.1.2) that are units of their own."""
_SAME_UNITS = {"[hnsf'U]": "HU", "Gy": "GY", "Bq/ml": "BQML", "Bq/mL": "BQML"}


class Line(NamedTuple):
    """value = slope * stored + intercept, the inversion of MONOCHROME1 included."""

    slope: float
    intercept: float

    @property
    def whole(self) -> bool:
        """Whether whole numbers stay whole."""
        return self.slope == int(self.slope) and self.intercept == int(self.intercept)


class Piece(NamedTuple):
    """A mapping of the stored values from `first` to `last`: a line, or a table."""

    first: float
    last: float
    line: Line
    table: NDArray[np.float64] | None
    units: str


class Meaning(NamedTuple):
    """What the stored values of one frame are."""

    units: str
    by: str
    """Name of the tag that gives the meaning, for the message where frames differ."""
    line: Line
    pieces: tuple[Piece, ...] = ()
    """Mappings that replace the line, where there are any."""
    table: bool = False
    """True where a modality table is used instead of the line."""
    notes: tuple[str, ...] = ()


def meanings_of(frames: Sequence[Frame]) -> list[Meaning]:
    """Return what each frame's values mean, once all agree on units and on what gives them.

    Raises:
        ReadError: they do not; the message names one that differs from most.
    """
    found = []
    for frame in frames:
        with naming(frame.file):
            found.append(meaning_of(frame))
    _agree(
        frames, [(meaning.units, meaning.by) for meaning in found], lambda one: f"{one[1]} (units {one[0]})"
    )
    found[0] = found[0]._replace(notes=(*found[0].notes, *_own_lines(frames, found)))
    if any(inverted(frame, meaning.units) for frame, meaning in zip(frames, found, strict=True)):
        _agree(frames, [_polarity(frame.file) for frame in frames], lambda one: f"values of {one[0]} bits")
    return found


def _own_lines(frames: Sequence[Frame], found: Sequence[Meaning]) -> tuple[str, ...]:
    """Warn of a CT whose slices differ in their rescale: scanners write one per series, so this may be a fault."""
    counts = Counter(meaning.line for meaning in found)
    if found[0].units != "HU" or len(counts) == 1 or frames[0].file.modality != "CT" or found[0].pieces:
        return ()
    usual = counts.most_common(1)[0][0]
    at = next(at for at, meaning in enumerate(found) if meaning.line != usual)
    odd, frame_name = found[at].line, _named_frame(frames, at)
    return (
        f"{len(found) - counts[usual]} of {len(found)} slices have a rescale of their own, such as {frame_name} "
        f"(slope {odd.slope:g}, intercept {odd.intercept:g}; most: {usual.slope:g}, {usual.intercept:g}): "
        "each was read by its own",
    )


def _named_frame(frames: Sequence[Frame], at: int) -> str:
    one_file = len({id(frame.file) for frame in frames}) == 1
    return f"frame {frames[at].index + 1}" if one_file else f"file {frames[at].file.path.name}"


def _agree(frames: Sequence[Frame], said: list[Any], describe: Callable[[Any], str]) -> None:
    counts = Counter(said)
    if len(counts) == 1:
        return
    usual = counts.most_common(1)[0][0]
    at = next(at for at, one in enumerate(said) if one != usual)
    frame_name = _named_frame(frames, at)
    more = len(said) - counts[usual] - 1
    others = f" (and {more} more)" if more else ""
    raise ReadError(
        f"the slices do not mean the same: {frame_name}{others} has {describe(said[at])}, the others {describe(usual)}; "
        "take it out, or repair its header"
    )


def meaning_of(frame: Frame) -> Meaning:
    """Return what one frame's values mean."""
    file, line = frame.file, Line(frame.slope, frame.intercept)
    table = file.value("ModalityLUTSequence") is not None
    by = "a modality table" if table else "a rescale" if frame.has_rescale else "no rescale"
    units, notes = units_of(frame)
    pieces = _mapped(frame) if units in ("arbitrary", "display") and not table else ()
    if pieces:
        return _mapped_meaning(pieces)
    if file.text("SOPClassUID") == PARAMETRIC_MAP:
        notes = (*notes, "the parametric map has no Real World Value Mapping: its values are as stored")
    notes = (*notes, *_contradicted_polarity(frame, units))
    if not table and inverted(frame, units):
        signed = file.integer("PixelRepresentation") == 1
        white = -1 if signed else 2 ** file.integer("BitsStored", file.integer("BitsAllocated")) - 1
        line = Line(-frame.slope, frame.slope * white + frame.intercept)
    return Meaning(units, by, line, table=table, notes=notes)


def units_of(frame: Frame) -> tuple[str, tuple[str, ...]]:
    """Return the units of a frame's rescaled values, and a warning where they are not what the modality promises."""
    file, modality = frame.file, frame.file.modality
    table = file.value("ModalityLUTSequence")
    rescale_type = (
        str(tag_value(table[0], "ModalityLUTType") or "") if table is not None else frame.rescale_type
    )
    rescale_type = rescale_type.strip().upper()
    if modality == "CT" and (frame.has_rescale or table is not None):
        return _units_of_ct(frame, rescale_type)
    own = str(file.value("Units" if modality in ("PT", "NM") else "DoseUnits") or "").strip()
    if modality == "RTDOSE" and not frame.has_rescale:
        return "arbitrary", ("the dose has no Dose Grid Scaling: its values are not in gray",)
    if modality == "PT" and not frame.has_rescale and table is None:
        return "arbitrary", ("the PET has no rescale slope and intercept: its values are not in its units",)
    if modality == "PT" and own == "GML" and (suv := frame.mark("SUV type")) not in (None, "BW"):
        return own, (
            f"standardised uptake values by {SUV_TYPES.get(str(suv), 'another measure')}, not by body weight",
        )
    if modality in ("PT", "NM", "RTDOSE") and re.fullmatch(r"[A-Z0-9]{1,8}", own):
        return own, ()
    if modality == "PT" and not _mapped(frame):
        what = "names units that the standard does not know" if own else "does not name its Units"
        return "arbitrary", (f"the PET {what}: it is not known whether its values are Bq/ml, counts or SUV",)
    if modality == "CT" and file.integer("BitsAllocated") > 8:
        return "arbitrary", (
            "the CT has no rescale slope and intercept: its values are not Hounsfield units",
        )
    if rescale_type in RESCALE_TYPES:
        return rescale_type, ()
    plain = file.integer("BitsAllocated") == file.integer("BitsStored", 8) == 8
    eight_bits = plain and not file.integer("PixelRepresentation") and not frame.has_rescale and table is None
    return ("display" if eight_bits else "arbitrary"), ()


def _units_of_ct(frame: Frame, rescale_type: str) -> tuple[str, tuple[str, ...]]:
    """Return "HU" where the file says so, or says nothing in an original CT (PS3.3 C.8.2.1, C.11.1.1.2)."""
    terms = image_type(frame.file, *frame.groups)
    other_values = NOT_HOUNSFIELD.intersection((*value_types(terms), *types_within(terms)))
    if rescale_type in ("HU", "HOUNSFIELD", "HOUNSFIELD UNITS"):
        return "HU", _contradicted_type(other_values - _OF_ATTENUATION)
    if rescale_type in RESCALE_TYPES:
        return rescale_type, (f"this CT is rescaled to {rescale_type}, which are not Hounsfield units",)
    if rescale_type == "US":
        return "arbitrary", (
            "this CT says that its units are unspecified (Rescale Type US): if they are Hounsfield units, declare units=HU",
        )
    if rescale_type:
        return "arbitrary", ("this CT is rescaled to something other than Hounsfield units (Rescale Type)",)
    if (mapped := _mapped_units(frame)) not in ("", "HU"):
        return "arbitrary", (f"this CT maps its values to {mapped}: they are not Hounsfield units",)
    if frame.file.text("SOPClassUID").startswith(SECONDARY_CAPTURE):
        return "arbitrary", (
            "this CT is a secondary capture and does not say that it is in Hounsfield units (no Rescale Type): if it is, "
            "declare units=HU",
        )
    several = frame.file.text("MultienergyCTAcquisition").upper() == "YES"
    lossy = frame.file.text("LossyImageCompression") == "01"
    if frame.file.text("SOPClassUID").startswith(X_RAY_3D):
        return "arbitrary", (
            "this is a volume of an X-ray system (cone beam) and does not say that it is in Hounsfield units (no Rescale "
            "Type): if it is, declare units=HU",
        )
    if not other_values and not several and (terms[:1] != ("DERIVED",) or lossy):
        return "HU", ()
    what = ", ".join(sorted(other_values)) or ("multi-energy" if several else "derived")
    return "arbitrary", (
        f"this CT is {what} and does not say that it is in Hounsfield units (no Rescale Type): if it is, declare units=HU",
    )


def _contradicted_type(other_values: frozenset[str]) -> tuple[str, ...]:
    if not other_values:
        return ()
    what = ", ".join(sorted(other_values))
    return (
        f"Rescale Type says HU, and Image Type {what}: the values may be those of a map, not the attenuation of tissue; "
        "compare with the source",
    )


def _polarity(file: DicomFile) -> tuple[int, int]:
    return file.integer("BitsStored", file.integer("BitsAllocated")), file.integer("PixelRepresentation")


def _contradicted_polarity(frame: Frame, units: str) -> tuple[str, ...]:
    """Warn where Presentation LUT Shape says the opposite of Photometric Interpretation (PS3.3 C.8.11.3.1.2, C.11.6)."""
    shape, photometric = (
        frame.file.text("PresentationLUTShape").upper(),
        frame.file.text("PhotometricInterpretation").upper(),
    )
    if units not in ("display", "arbitrary") or frame.file.modality in QUANTITIES:
        return ()
    if _falling(frame.file):
        return (
            "the VOI LUT of the file turns bright to dark, and it is not applied: the image may be a negative of what is shown",
        )
    if (shape, photometric) not in (("INVERSE", "MONOCHROME2"), ("IDENTITY", "MONOCHROME1")):
        return ()
    return (
        f"Presentation LUT Shape {shape} contradicts Photometric Interpretation {photometric}, which was taken: if "
        "bone is dark, the image is a negative",
    )


def _falling(file: DicomFile) -> bool:
    """Whether the first VOI LUT gives smaller numbers for larger values (PS3.3 C.11.2.1.1)."""
    items = file.value("VOILUTSequence")
    descriptor, data = (
        (tag_value(items[0], name) for name in ("LUTDescriptor", "LUTData")) if items else (None, None)
    )
    table = lut_entries(descriptor, data, big_endian=file.big_endian)
    return table is not None and len(table) > 1 and int(table[-1]) < int(table[0])


def inverted(frame: Frame, units: str) -> bool:
    """Whether a smaller stored value is brighter: only where values have no units (C.7.6.3.1.2)."""
    if units not in ("display", "arbitrary") or frame.file.modality in QUANTITIES:
        return False
    return frame.file.text("PhotometricInterpretation").upper() == "MONOCHROME1"


def _mapped_units(frame: Frame) -> str:
    """Return the units of the first real world mapping, empty without any."""
    pieces = _mapped(frame)
    return pieces[0].units if pieces else ""


def _mapped(frame: Frame) -> tuple[Piece, ...]:
    """Return the real world mappings of a frame (PS3.3 C.7.6.16.2.11), which hold for stored values."""
    for source in (*frame.groups, frame.file.header):
        items = tag_value(source, "RealWorldValueMappingSequence")
        if items:
            return tuple(_piece(item) for item in items)
    return ()


def _piece(item: Dataset) -> Piece:
    ends = [
        tag_floats(item, f"DoubleFloatRealWorldValue{end}ValueMapped", 1)
        or tag_floats(item, f"RealWorldValue{end}ValueMapped", 1)
        for end in ("First", "Last")
    ]
    first, last = (-np.inf if ends[0] is None else ends[0][0]), (np.inf if ends[1] is None else ends[1][0])
    slope, intercept = (
        tag_floats(item, "RealWorldValueSlope", 1),
        tag_floats(item, "RealWorldValueIntercept", 1),
    )
    data = tag_value(item, "RealWorldValueLUTData")
    table = None if data is None else np.atleast_1d(np.asarray(data, dtype=np.float64))
    if table is None and (slope is None or intercept is None or slope[0] == 0):
        raise ReadError("a Real World Value Mapping has neither slope and intercept nor a table")
    if table is not None and (not np.isfinite([first, last]).all() or len(table) != last - first + 1):
        raise ReadError(
            f"a Real World Value Mapping holds {len(table)} entries for the values {first:g} to {last:g}"
        )
    line = Line(1.0, 0.0) if slope is None or intercept is None else Line(slope[0], intercept[0])
    return Piece(first, last, line, table, _real_units(item))


def _real_units(item: Dataset) -> str:
    """Return a UCUM code, never free text."""
    codes, code = tag_value(item, "MeasurementUnitsCodeSequence"), units_code(item)
    scheme = str(tag_value(codes[0], "CodingSchemeDesignator") or "").strip() if codes else ""
    plain = re.fullmatch(r"[A-Za-z0-9/*.%{}()\[\]'+-]{1,24}", code) and not re.search(r"[A-Za-z]{7}", code)
    return _SAME_UNITS.get(code, code) if scheme == "UCUM" and plain else "arbitrary"


def _mapped_meaning(pieces: tuple[Piece, ...]) -> Meaning:
    units = pieces[0].units
    notes: tuple[str, ...] = ()
    used = tuple(piece for piece in pieces if piece.units == units)
    spans = sorted((piece.first, piece.last) for piece in used)
    if any(later[0] <= earlier[1] for earlier, later in pairwise(spans)):
        used = used[:1]
    if len(used) < len(pieces):
        notes = (
            f"the file maps its values to {len(pieces)} real world values; the first was read ({units})",
        )
    return Meaning(units, "a Real World Value Mapping", used[0].line, used, notes=notes)

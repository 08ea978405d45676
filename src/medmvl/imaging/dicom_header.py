"""DICOM files as headers: which bytes are DICOM, the few tags that pixels need, and where the pixels lie.

Nothing about a patient is kept: identifying values become numbers that can only be compared while the process lives, and
what pydicom would log is silenced.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BufferedIOBase, BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

import pydicom
from pydicom import uid
from pydicom.datadict import dictionary_VM, dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import _at_pixel_data, read_dataset
from pydicom.multival import MultiValue

from medmvl.errors import ReadError
from medmvl.imaging.dicom_scan import UNDEFINED_LENGTH, scan_header
from medmvl.imaging.dicom_tags import CREATORS, IDENTITY_NUMBERS, NUMBERS, READ, SIEMENS_CSA, TAGS
from medmvl.imaging.dicom_values import (
    PARSER_ERRORS,
    TagValue,
    plain_bytes,
    plain_text,
    sampled_more,
    tag_value,
)
from medmvl.imaging.limits import max_expanded
from medmvl.imaging.silence import silent_libraries

MODALITIES = frozenset([
    "AR", "BI", "BMD", "CR", "CT", "DG", "DX", "EC", "ECG", "EEG", "ES", "GM", "HC", "IO", "IVOCT",
    "IVUS", "KER", "LEN", "LS", "MG", "MR", "NM", "OAM", "OCT", "OP", "OPT", "OPTENF", "OPV", "OSS",
    "OT", "PT", "PX", "RF", "RG", "RTDOSE", "RTIMAGE", "RTPLAN", "RTSTRUCT", "SC", "SEG", "SM", "SR",
    "ST", "TG", "TH", "US", "VA", "XA", "XC", "PR", "KO", "DOC", "REG", "RWV", "FID", "AU", "HD", "M3D",
])  # fmt: skip
"""Codes of PS3.3 C.7.3.1.1.1 that are repeated to the user; anything else in that tag is not."""

_CLASSES_OF = {
    "CT": ("2", "2.1", "2.2"), "MR": ("4", "4.1", "4.3", "4.4"), "PT": ("128", "130", "128.1"), "NM": ("20",), "CR": ("1",),
    "DX": ("1.1", "1.1.1"), "MG": ("1.2", "1.2.1", "13.1.3"), "IO": ("1.3", "1.3.1"), "US": ("6.1", "3.1", "6.2"),
    "XA": ("12.1", "12.1.1"), "RF": ("12.2", "12.2.1"), "RTDOSE": ("481.2",), "SEG": ("66.4", "66.7"), "SM": ("77.1.6",),
}  # fmt: skip
MODALITY_OF_CLASS = {
    f"1.2.840.10008.5.1.4.1.1.{number}": code for code, numbers in _CLASSES_OF.items() for number in numbers
}
"""Modality of the SOP classes that have one only (PS3.4 B.5): it says the same where Modality was lost."""
_FIXED_SIZES = {"US": 2, "SS": 2, "UL": 4, "SL": 4, "FL": 4, "FD": 8}
_SINGLE = {
    NUMBERS[keyword]: (keyword, _FIXED_SIZES.get(dictionary_VR(keyword)))
    for keyword in TAGS
    if dictionary_VM(keyword) == "1"
    and dictionary_VR(keyword) in {"CS", "DA", "DS", "IS", "TM", "UI", *_FIXED_SIZES}
}
"""Tags that hold one value, and its bytes where they are fixed."""

_LONG_VRS = {b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN"}
_PIXEL_KEYWORDS = {0x0010: "PixelData", 0x0008: "FloatPixelData", 0x0009: "DoubleFloatPixelData"}
_FIRST_ELEMENTS = (0x00, 0x01, 0x05, 0x08, 0x12, 0x13, 0x16, 0x18)


@dataclass(frozen=True, eq=False)
class DicomFile:
    """One file: its header, and where the value of its pixels starts."""

    path: Path
    header: Dataset
    syntax: uid.UID
    big_endian: bool
    pixel_keyword: str | None
    """`"PixelData"`, `"FloatPixelData"`, `"DoubleFloatPixelData"`, or None: the object is not an image."""
    pixel_vr: str
    pixel_offset: int
    pixel_length: int
    inflated: bytes | None
    """The whole dataset of the deflated transfer syntax; `pixel_offset` counts in it."""
    identity: tuple[int, ...] = field(default=(), repr=False)
    """A number for each tag of `IDENTITY`, 0 where it is empty: equal where the values are; means nothing elsewhere."""
    raw: dict[int, bytes] = field(default_factory=dict, repr=False)
    """Bytes of the plain tags as they were written: what is equal here needs no parsing to be compared."""
    known: dict[str, TagValue] = field(default_factory=dict, repr=False)
    """Values parsed so far."""
    surprises: set[str] = field(default_factory=set, repr=False)
    """Warnings about what the pixels showed when they were read."""

    @property
    def encapsulated(self) -> bool:
        """Whether frames are stored as compressed fragments."""
        return self.pixel_length == UNDEFINED_LENGTH or (
            self.syntax in uid.AllTransferSyntaxes and self.syntax.is_encapsulated
        )

    @property
    def num_pixel_bytes(self) -> int:
        """Bytes that are really there for pixels, whatever the header claims."""
        size = self.path.stat().st_size if self.inflated is None else len(self.inflated)
        return max(0, min(self.pixel_length, size - self.pixel_offset))

    @contextmanager
    def open_pixels(self) -> Iterator[BufferedIOBase]:
        """Open a stream that is at the first byte of the pixels' value."""
        stream: BufferedIOBase = self.path.open("rb") if self.inflated is None else BytesIO(self.inflated)
        with stream:
            stream.seek(self.pixel_offset)
            yield stream

    @property
    def modality(self) -> str | None:
        """The modality code where it is one that the standard knows; where it is missing, that of the SOP class."""
        found = self.text("Modality").upper()
        return found if found in MODALITIES else MODALITY_OF_CLASS.get(self.text("SOPClassUID"))

    def text(self, keyword: str) -> str:
        """Return a tag of one value as text without padding, empty where it is absent.

        Raises:
            ReadError: where it holds several values.
        """
        if keyword not in self.known:
            plain = plain_text(self.header, NUMBERS[keyword])
            if plain is not None:
                self.known[keyword] = plain or None
        found = self.value(keyword)
        if found is not None and isinstance(found, (list, tuple, MultiValue)):
            raise ReadError(f"the DICOM tag {keyword} holds {len(found)} values where the standard has one")
        return "" if found is None else str(found).strip(" \0")

    def private(self, tag: pydicom.tag.BaseTag) -> TagValue:
        """Return the value of an element of `CREATORS` where its owner is named, else None."""
        creator, name = CREATORS[tag]
        if tag not in self.header.keys() or creator not in self.header.keys():  # noqa: SIM118
            return None
        try:
            owner, found = str(self.header[creator].value).strip(), self.header[tag].value
        except PARSER_ERRORS:
            return None
        return found if owner == name else None

    def value(self, keyword: str) -> TagValue:
        """Return a tag's value, or None where it is absent or empty.

        Raises:
            ReadError: where the value cannot be parsed.
        """
        if keyword not in self.known:
            self.known[keyword] = tag_value(self.header, keyword)
        return self.known[keyword]

    def integer(self, keyword: str, default: int = 0) -> int:
        """Return a tag as an integer."""
        if keyword not in self.known:
            digits = plain_bytes(self.header, NUMBERS[keyword], ("IS",))
            if digits is not None and digits.strip().isdigit():
                return int(digits)
        found = self.value(keyword)
        try:
            return default if found is None else int(found)
        except PARSER_ERRORS:
            raise ReadError(f"the DICOM tag {keyword} is not a number") from None


@contextmanager
def naming(file: DicomFile) -> Iterator[None]:
    """Put the file's name before what is wrong with it, as one of many in a folder."""
    try:
        yield
    except ReadError as error:
        raise ReadError(f"file {file.path.name}: {error}") from None


def sniff_dicom(head: bytes, path: Path) -> bool:
    """Say whether this is DICOM: the mark at byte 128, or an unmistakable first element without a preamble."""
    if head[128:132] == b"DICM":
        return True
    if len(head) < 16 or head[1] != 0 or head[3] != 0:
        return False
    group, element = head[0], head[2]
    explicit = re.fullmatch(rb"(AE|CS|DA|IS|LO|SH|TM|UI|UL)", head[4:6]) is not None
    length = int.from_bytes(head[6:8], "little") if explicit else int.from_bytes(head[4:8], "little")
    plausible = (group == 0x08 and element in _FIRST_ELEMENTS) or (group == 0x02 and element <= 0x02)
    return plausible and length % 2 == 0 and 0 < length <= 128


def read_header(path: Path) -> DicomFile:
    """Read the tags that are needed and find the pixels, without reading them.

    Raises:
        ReadError: the file is not DICOM, or is damaged before its pixels.
    """
    try:
        with silent_libraries(), path.open("rb") as stream:
            return _parse(path, stream)
    except PARSER_ERRORS as error:
        if isinstance(error, (ReadError, PermissionError, FileNotFoundError)):
            raise
        raise ReadError("the DICOM header is damaged or the file is cut off before its pixels") from None


def _parse(path: Path, stream: BinaryIO) -> DicomFile:
    scanned = scan_header(stream.fileno())
    if scanned is None:
        return _parse_by_pydicom(path, stream)
    header = scanned.header
    _refuse_several_values(header)
    raw = _raw_values(header)
    identity, keyword = _identity(header, raw), _PIXEL_KEYWORDS[scanned.pixel_tag & 0xFFFF]
    place, length = scanned.pixel_offset, scanned.pixel_length
    return DicomFile(
        path, header, scanned.syntax, False, keyword, scanned.pixel_vr, place, length, None, identity, raw
    )


def _parse_by_pydicom(path: Path, stream: BinaryIO) -> DicomFile:
    deflated = _inflate(stream)
    if deflated is None:
        header = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=READ)
        syntax, inflated, source = _syntax_of(header), None, stream
    else:
        inflated, source = deflated, BytesIO(deflated)
        syntax = uid.DeflatedExplicitVRLittleEndian
        header = read_dataset(source, False, True, stop_when=_at_pixel_data, specific_tags=READ)
    _refuse_several_values(header)
    implicit, little = _encoding_of(header, deflated is not None)
    keyword, vr, length = _pixel_element(source, implicit, little)
    start, raw = source.tell(), _raw_values(header)
    identity = _identity(header, raw)
    return DicomFile(path, header, syntax, not little, keyword, vr, start, length, inflated, identity, raw)


def _raw_values(header: Dataset) -> dict[int, bytes]:
    """Return the bytes of what the parser left unparsed; `items` of a dataset parses nothing."""
    return {
        tag: element.value
        for tag, element in header.items()
        if isinstance(element, RawDataElement) and isinstance(element.value, bytes)
    }


def _identity(header: Dataset, raw: dict[int, bytes]) -> tuple[int, ...]:
    """Return what tells patients and studies apart, as numbers, and forget the values."""
    numbers = []
    for tag in IDENTITY_NUMBERS:
        value = raw.pop(tag, b"").rstrip(b" \0^")
        numbers.append(hash(value) or 1 if value else 0)  # salted by the process: it cannot be looked up
        if tag in header.keys():  # noqa: SIM118
            del header[tag]
    if (
        SIEMENS_CSA in raw
        and b"MOSAIC" not in raw.get(NUMBERS["ImageType"], b"")
        and not _may_be_mosaic(header)
    ):
        raw.pop(SIEMENS_CSA, None)
        header.pop(SIEMENS_CSA, None)
    return tuple(numbers)


def _may_be_mosaic(header: Dataset) -> bool:
    try:
        return sampled_more(header) > 1
    except ReadError:
        return False


def _refuse_several_values(header: Dataset) -> None:
    """Raise ReadError where a tag of one value holds several: what it means would be a guess."""
    for element in header.values():
        keyword, size = _SINGLE.get(element.tag, (None, None))
        value = element.value
        if keyword is not None and isinstance(value, bytes):
            several = len(value) > size if size else b"\\" in value.rstrip(b" \0\\")
            if several:
                raise ReadError(f"the DICOM tag {keyword} holds several values; expected one")


def _encoding_of(header: Dataset, deflated: bool) -> tuple[bool, bool]:
    implicit, little = (False, True) if deflated else header.original_encoding
    return bool(implicit), bool(little)


def _inflate(stream: BinaryIO) -> bytes | None:
    """Return the dataset of a deflated file as far as it may grow; None where it is not deflated."""
    head = stream.read(4096)
    stream.seek(0)
    if head[128:132] != b"DICM" or uid.DeflatedExplicitVRLittleEndian.encode() not in head:
        return None
    meta = pydicom.filereader.read_file_meta_info(stream.name)
    if meta.get("TransferSyntaxUID") != uid.DeflatedExplicitVRLittleEndian:
        return None
    stream.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
    stored = stream.read()
    most = max_expanded(len(stored))
    data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, most + 1)
    if len(data) > most:
        raise ReadError(
            f"{len(stored)} deflated bytes grow beyond {most} bytes: damaged, or made to exhaust memory"
        )
    return data


def _syntax_of(header: Dataset) -> uid.UID:
    found = header.file_meta.get("TransferSyntaxUID")
    if found:
        return uid.UID(str(found))
    implicit, little = header.original_encoding
    if not little:
        return uid.ExplicitVRBigEndian
    return uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian


def _pixel_element(stream: BinaryIO, implicit: bool, little: bool) -> tuple[str | None, str, int]:
    """Read the element header the parser stopped at; the stream is then at the value."""
    order: Literal["little", "big"] = "little" if little else "big"
    head = stream.read(8)
    if len(head) < 8 or int.from_bytes(head[:2], order) != 0x7FE0:
        return None, "", 0
    keyword = _PIXEL_KEYWORDS.get(int.from_bytes(head[2:4], order))
    if implicit:
        return keyword, "OW", int.from_bytes(head[4:8], order)
    long_form = head[4:6] in _LONG_VRS
    length = int.from_bytes(stream.read(4), order) if long_form else int.from_bytes(head[6:8], order)
    return keyword, head[4:6].decode("ascii", "replace"), length

"""Values of DICOM tags: absent, empty and damaged ones told apart, short ones of a series parsed once."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Collection
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from medmvl.errors import ReadError
from medmvl.imaging.dicom_tags import NUMBERS, PLAIN

PARSER_ERRORS = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, OSError, EOFError, ArithmeticError,
    RuntimeError, AssertionError, ImportError, struct.error, zlib.error, InvalidDicomError,
    BytesLengthException,
)  # fmt: skip
"""What parsers and codecs raise on damaged bytes; their messages may quote values and are not repeated."""

_VRS = {tag: dictionary_VR(tag) for tag in NUMBERS.values()}
_LETTERS = re.compile(rb"[A-Za-z0-9_.]*")
MAX_PARSED = 4096
TagValue = Any
"""What pydicom makes of a tag, by its value representation; None where it is empty."""
_parsed: dict[tuple[object, ...], TagValue] = {}


def tag_value(dataset: Dataset, keyword: str) -> TagValue:
    """Return a tag's value, or None where it is absent or empty; ReadError where it cannot be parsed."""
    tag = NUMBERS[keyword]
    if tag not in dataset.keys():  # noqa: SIM118  (`in dataset` is ten times slower)
        return None
    key = _plain_key(dataset, tag)
    if key is not None and key in _parsed:
        return _parsed[key]
    try:
        found = dataset[tag].value
    except PARSER_ERRORS:
        raise ReadError(f"the DICOM tag {keyword} cannot be understood") from None
    found = None if found is None or found == "" or (hasattr(found, "__len__") and len(found) == 0) else found
    if key is not None:
        if len(_parsed) >= MAX_PARSED:
            _parsed.clear()
        _parsed[key] = found
    return found


def _plain_key(dataset: Dataset, tag: pydicom.tag.BaseTag) -> tuple[object, ...] | None:
    """Return what decides the value of a short number or term, so that the slices of a series parse it once."""
    element = dataset.get_item(tag)
    if (
        not isinstance(element, RawDataElement)
        or not isinstance(element.value, bytes)
        or len(element.value) > 128
    ):
        return None
    plain = (element.VR in (None, PLAIN[tag])) if tag in PLAIN else False
    return (int(tag), element.VR, element.is_little_endian, element.value) if plain else None


def plain_bytes(dataset: Dataset, tag: pydicom.tag.BaseTag, vrs: Collection[str]) -> bytes | None:
    """Return the bytes of an unparsed element, None where it is none, or its VR is none of these."""
    if (vr := _VRS.get(tag)) not in vrs:
        return None
    element = dataset.get_item(tag)
    if not isinstance(element, RawDataElement) or not isinstance(element.value, bytes):
        return None
    return element.value if element.VR in (None, vr) else None


def plain_text(dataset: Dataset, tag: pydicom.tag.BaseTag) -> str | None:
    """Return a text of letters and digits, which is the same in every character set; None where it holds anything else."""
    found = plain_bytes(dataset, tag, ("CS", "LO", "SH", "UI"))
    found = None if found is None else found.rstrip(b" \0")
    return None if found is None or not _LETTERS.fullmatch(found) else found.decode("ascii")


def _plain_floats(dataset: Dataset, tag: pydicom.tag.BaseTag) -> tuple[float, ...] | None:
    """Return decimal strings as numbers, None where they are not as the standard writes them: pydicom decides then."""
    found = plain_bytes(dataset, tag, ("DS",))
    try:
        return tuple(float(part) for part in found.split(b"\\")) if found else None
    except ValueError:
        return None


def tag_text(dataset: Dataset, keyword: str) -> str:
    """Return a tag as text without spaces around it, empty where it is absent."""
    plain = plain_text(dataset, NUMBERS[keyword])
    return (str(tag_value(dataset, keyword) or "") if plain is None else plain).strip()


def tag_floats(dataset: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return a tag of exactly `count` finite numbers, or None where it holds anything else."""
    numbers = stated_floats(dataset, keyword)
    return numbers if len(numbers) == count and all(abs(n) < 1e30 for n in numbers) else None


def stated_floats(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the numbers of a tag, however many and whatever they are; none where it is absent or empty."""
    found: TagValue = _plain_floats(dataset, NUMBERS[keyword])
    found = tag_value(dataset, keyword) if found is None else found
    if found is None:
        return ()
    try:
        return tuple(float(n) for n in (found if hasattr(found, "__iter__") else [found]))
    except PARSER_ERRORS:
        raise ReadError(f"the DICOM tag {keyword} is not a number") from None


def sampled_more(header: Dataset) -> float:
    """How many times as many pixels per side an image has as were acquired (Acquisition Matrix); 1 where that is not said.

    The smaller of both sides counts. Interpolation doubles them, seldom more; a mosaic has as many as it has tiles per side.
    """
    frequency_rows, frequency_columns, phase_rows, phase_columns = (
        tag_floats(header, "AcquisitionMatrix", 4) or (0,) * 4
    )
    rows, columns = max(frequency_rows, phase_rows), max(frequency_columns, phase_columns)
    size = [stated_floats(header, keyword) for keyword in ("Rows", "Columns")]
    if not (rows > 0 and columns > 0 and all(len(one) == 1 for one in size)):
        return 1.0
    return min(size[0][0] / rows, size[1][0] / columns)


def lut_entries(descriptor: Any, data: Any, *, big_endian: bool) -> NDArray[np.int64] | None:
    """Return the entries of a table: 16 bits each, or bytes where the descriptor says 8 bits and there are no more.

    Args:
        descriptor: LUT Descriptor: how many entries, the first value, bits.
        data: LUT Data.
        big_endian: order of bytes of the file.
    """
    if descriptor is None or data is None or len(descriptor) != 3:
        return None
    count, bits = int(descriptor[0]) or 2**16, int(descriptor[2])
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data)).astype(np.int64)[:count]
    dtype = "u1" if bits <= 8 and len(data) < 2 * count else ">u2" if big_endian else "<u2"
    return np.frombuffer(data[: len(data) // 2 * 2], dtype).astype(np.int64)[:count]

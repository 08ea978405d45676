"""A fast walk over the elements of an ordinary DICOM file: little endian, in order, with a meta header, up to its pixels.

pydicom's parser makes an object of each element and asks the file for its bytes one by one, which is most of the time that
a series of 300 slices takes. This one skips the elements that are not needed and repairs nothing: whatever is not as the
standard
(PS3.5, section 7) says is left to pydicom, which knows what writers do.
"""

from __future__ import annotations

import os
import struct
from functools import lru_cache
from typing import NamedTuple

from pydicom import uid
from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.valuerep import EXPLICIT_VR_LENGTH_16, EXPLICIT_VR_LENGTH_32
from pydicom.values import convert_string

from medmvl.imaging.dicom_tags import READ

UNDEFINED_LENGTH = 0xFFFFFFFF
WINDOW_BYTES = 2**15
"""Bytes read at a time: the header of a slice, in most cases."""
MAX_VALUE_BYTES, MAX_DEPTH = 2**24, 16
_CHARACTER_SET = BaseTag(0x00080005)
_WANTED = {int(tag): tag for tag in (*READ, _CHARACTER_SET)}
_SHORT = {str(vr).encode(): str(vr) for vr in EXPLICIT_VR_LENGTH_16}
_LONG = {str(vr).encode(): str(vr) for vr in EXPLICIT_VR_LENGTH_32}
_LAST_META, _SYNTAX, _FIRST_PIXELS = 0x0002FFFF, 0x00020010, 0x7FE00008
_PIXEL_TAGS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_implicit_element = struct.Struct("<HHL").unpack_from
_explicit_element = struct.Struct("<HH2sH").unpack_from
_long_length = struct.Struct("<L").unpack_from
_SYNTAXES = {
    str(syntax): syntax
    for syntax in uid.AllTransferSyntaxes
    if syntax.is_little_endian and syntax != uid.DeflatedExplicitVRLittleEndian
}


class Scanned(NamedTuple):
    """What the walk has found."""

    header: Dataset
    """The elements of `READ`, unparsed."""
    syntax: uid.UID
    pixel_tag: int
    pixel_vr: str
    pixel_offset: int
    pixel_length: int


class _UnusualError(Exception):
    """The file is not as the standard says, or is cut off: pydicom's parser decides."""


class _Element(NamedTuple):
    tag: int
    vr: str | None
    start: int
    length: int


class _Window:
    """The bytes of a file from `base` on, as many as were read at a time."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor, self.base, self.data = descriptor, 0, os.pread(descriptor, WINDOW_BYTES, 0)

    def at(self, place: int, count: int) -> int:
        """Return where `count` bytes of the file from `place` on are in `data`."""
        offset = place - self.base
        if offset < 0 or offset + count > len(self.data):
            if count > MAX_VALUE_BYTES:
                raise _UnusualError
            self.base, self.data = place, os.pread(self.descriptor, max(count, WINDOW_BYTES), place)
            offset = 0
            if len(self.data) < count:
                raise _UnusualError
        return offset

    def element(self, place: int, implicit: bool) -> _Element:
        """The element whose tag is at `place`."""
        offset = self.at(place, 8)
        if implicit:
            group, number, length = _implicit_element(self.data, offset)
            return _Element(group << 16 | number, None, place + 8, length)
        group, number, code, length = _explicit_element(self.data, offset)
        if code in _SHORT:
            return _Element(group << 16 | number, _SHORT[code], place + 8, length)
        if code not in _LONG:
            raise _UnusualError
        offset = self.at(place, 12)
        length = _long_length(self.data, offset + 8)[0]
        return _Element(group << 16 | number, _LONG[code], place + 12, length)

    def value(self, element: _Element) -> bytes:
        """The bytes of an element's value."""
        offset = self.at(element.start, element.length)
        return self.data[offset : offset + element.length]


def scan_header(descriptor: int) -> Scanned | None:
    """Return the elements of `READ` and where the pixels are; None where pydicom's parser must decide.

    Args:
        descriptor: descriptor of an open file; its position does not matter.
    """
    window = _Window(descriptor)
    if window.data[128:132] != b"DICM":
        return None
    try:
        syntax, place = _meta(window)
        implicit = syntax == uid.ImplicitVRLittleEndian
        offset = window.at(place, 8)
        if implicit and window.data[offset + 4 : offset + 6].isupper():
            return None
        elements, pixels = _elements(window, place, implicit)
    except (_UnusualError, struct.error):
        return None
    encoding = _encoding(elements.get(_CHARACTER_SET))
    header = Dataset(elements)
    header.set_original_encoding(implicit, True, encoding)
    return Scanned(header, syntax, pixels.tag, pixels.vr or "OW", pixels.start, pixels.length)


def _meta(window: _Window) -> tuple[uid.UID, int]:
    """Return the transfer syntax, and where the dataset starts."""
    place, syntax = 132, None
    while True:
        offset = window.at(place, 8)
        if window.data[offset : offset + 2] != b"\2\0":
            break
        element = window.element(place, implicit=False)
        if element.length == UNDEFINED_LENGTH:
            raise _UnusualError
        if element.tag == _SYNTAX:
            syntax = _SYNTAXES.get(window.value(element).decode("latin-1").rstrip(" \0"))
        place = element.start + element.length
    if syntax is None:
        raise _UnusualError
    return syntax, place


def _elements(window: _Window, place: int, implicit: bool) -> tuple[dict[BaseTag, RawDataElement], _Element]:
    """Return the wanted elements from `place` on, and that of the pixels, which is not read."""
    found: dict[BaseTag, RawDataElement] = {}
    last = _LAST_META
    while True:
        place, last = _within(window, place, last, implicit, found)
        element = window.element(place, implicit)
        tag, vr, start, length = element
        if tag <= last:
            raise _UnusualError
        if tag >= _FIRST_PIXELS:
            if tag not in _PIXEL_TAGS:
                raise _UnusualError
            return found, element
        last, wanted = tag, _WANTED.get(tag)
        if length == UNDEFINED_LENGTH:
            if wanted is not None:
                raise _UnusualError
            place = _after_undefined(window, element, implicit, 0)
            continue
        if wanted is not None:
            value = window.value(element) if length else empty_value_for_VR(vr, raw=True)
            found[wanted] = RawDataElement(wanted, vr, length, value, start, implicit, True)
        place = start + length


def _within(
    window: _Window, place: int, last: int, implicit: bool, found: dict[BaseTag, RawDataElement]
) -> tuple[int, int]:
    """Take the plain elements of the window; return where another kind of element begins, and the tag before it.

    One loop without calls: it runs for every element of every slice.
    """
    data, all_wanted, short, unpack = window.data, _WANTED, _SHORT, _explicit_element
    offset, end, vr = place - window.base, len(window.data), None
    if implicit:
        unpack = _implicit_element
    while 0 <= offset <= end - 8:
        if implicit:
            group, number, length = unpack(data, offset)
        else:
            group, number, code, length = unpack(data, offset)
            vr = short.get(code)
            if vr is None:
                break
        tag, after = group << 16 | number, offset + 8 + length
        if tag <= last or tag >= _FIRST_PIXELS or length == UNDEFINED_LENGTH:
            break
        wanted = all_wanted.get(tag)
        if wanted is not None:
            if after > end or not length:
                break
            start = offset + 8
            found[wanted] = RawDataElement(
                wanted, vr, length, data[start:after], window.base + start, implicit, True
            )
        last, offset = tag, after
    return window.base + offset, last


def _after_undefined(window: _Window, element: _Element, implicit: bool, depth: int) -> int:
    """Return where an element of undefined length ends: after its last item (PS3.5, section 7.5)."""
    place = element.start
    implicit = implicit or element.vr == "UN"  # section 6.2.2, note 2
    while True:
        tag, _, start, length = window.element(place, implicit=True)
        if tag == _SEQUENCE_END:
            return start
        if tag != _ITEM or depth > MAX_DEPTH:
            raise _UnusualError
        place = start + length
        if length == UNDEFINED_LENGTH:
            place = _after_item(window, start, implicit, depth)


def _after_item(window: _Window, place: int, implicit: bool, depth: int) -> int:
    while True:
        mark = window.element(place, implicit=True)
        if mark.tag == _ITEM_END:
            return mark.start
        element = window.element(place, implicit)
        place = element.start + element.length
        if element.length == UNDEFINED_LENGTH:
            place = _after_undefined(window, element, implicit, depth + 1)


def _encoding(element: RawDataElement | None) -> str | list[str]:
    return default_encoding if element is None else _encoding_of(element.value or b"")


@lru_cache(maxsize=64)
def _encoding_of(value: bytes) -> list[str]:
    return list(convert_encodings(convert_string(value, True)))

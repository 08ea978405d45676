"""JPEG XL images, by imagecodecs (an extra): `pip install -e '.[jpegxl]'`. The size is checked before decoding.

Standard: ISO/IEC 18181-1 (codestream) and 18181-2 (container).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import AmbiguousSourceError, Choice, MissingExtraError, ReadError
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.limits import check_size
from medmvl.imaging.selector import Selector, pick

_CODESTREAM, _CONTAINER = b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}
_MAX_BOXES = 64


def sniff(head: bytes) -> bool:
    """Return whether these are the first bytes of a JPEG XL image."""
    return head.startswith((_CODESTREAM, _CONTAINER))


def read_jpeg_xl(path: Path, selector: Selector) -> MedicalImage:
    """Read an image, upright; 8 bit has units "display", deeper ones "arbitrary".

    Raises:
        AmbiguousSourceError: for several frames, which `#frame=N` chooses from.
        MissingExtraError: imagecodecs is not installed.
        ReadError: where it is damaged, cut short or too large.
    """
    data = path.read_bytes()
    height, width = _claimed_size(data)
    check_size((height, width), 12)
    pixels = _decoded(data)
    shapes = ((height, width), (width, height))
    if pixels.shape[:2] not in shapes and pixels.shape[1:3] in shapes:
        pixels = pixels[_frame(selector, len(pixels))]
    elif selector.frame is not None:
        pick(selector.frame, 1, "frame")
    if pixels.ndim == 3:
        pixels = pixels[..., 0] if pixels.shape[2] < 3 else pixels[..., :3]
    units = "display" if pixels.dtype == np.uint8 else "arbitrary"
    return MedicalImage(
        array=np.ascontiguousarray(pixels), kind="image", units=units, source_format="jpeg xl"
    )


def _decoded(data: bytes) -> NDArray[Any]:
    try:
        from imagecodecs import JpegxlError, jpegxl_decode
    except ImportError as error:
        raise MissingExtraError(
            "JPEG XL needs the library imagecodecs: pip install -e '.[jpegxl]' in the clone, or save the image as PNG",
            "JPEG XL is not read here: save the image as PNG",
        ) from error
    try:
        return np.asarray(jpegxl_decode(data))
    except (JpegxlError, ValueError, RuntimeError, MemoryError) as error:
        raise ReadError("the JPEG XL image is damaged or cut short") from error


def _frame(selector: Selector, count: int) -> int:
    if selector.frame is None and count > 1:
        raise AmbiguousSourceError(f"the file holds {count} frames", Choice("frame", count))
    return pick(selector.frame or 1, count, "frame")


def _claimed_size(data: bytes) -> tuple[int, int]:
    """Return height and width as the size header says them."""
    try:
        bits = _Bits(_codestream(data)[2:32])
        small = bits.take(1)
        height = _side(bits, small)
        ratio = bits.take(3)
        width = _side(bits, small) if ratio == 0 else height * _RATIOS[ratio][0] // _RATIOS[ratio][1]
    except (struct.error, IndexError) as error:
        raise ReadError("the JPEG XL header is damaged or cut short") from error
    return height, width


def _side(bits: _Bits, small: int) -> int:
    if small:
        return 8 * (1 + bits.take(5))
    return 1 + bits.take((9, 13, 18, 30)[bits.take(2)])


def _codestream(data: bytes) -> bytes:
    """Return the beginning of the codestream, out of its container where there is one."""
    at = 0
    for _ in range(_MAX_BOXES):
        if data.startswith(_CODESTREAM):
            return data
        size, box_type = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1:
            size, start = struct.unpack_from(">Q", data, at + 8)[0], at + 16
        if box_type in (b"jxlc", b"jxlp"):
            return data[start + (4 if box_type == b"jxlp" else 0) :][:64]
        if size < 8:
            break
        at += size
    raise ReadError("the JPEG XL container holds no image")


class _Bits:
    """Numbers of any width, least significant bit first."""

    def __init__(self, data: bytes) -> None:
        self._number, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise IndexError("no bits are left")
        value = self._number & ((1 << count) - 1)
        self._number >>= count
        self._left -= count
        return value

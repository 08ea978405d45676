"""Deep PGM and PPM as they are stored: Pillow scales grey of more than 8 bits to 16 and keeps the high byte of colour."""

from __future__ import annotations

import re
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmvl.errors import ReadError

_HEADER = re.compile(
    rb"P([2356])\s(?:\s|#[^\n]*\n)*(\d+)\s(?:\s|#[^\n]*\n)*(\d+)\s(?:\s|#[^\n]*\n)*(\d+)(?:#[^\n]*)?\s"
)
_COMMENT = re.compile(rb"#[^\n]*")
_HEAD_BYTES = 65536


def deep_netpbm(pil_image: Image.Image, file: BinaryIO) -> NDArray[np.uint16] | None:
    """Return `(H, W)` or `(H, W, 3)` of an image whose largest number is above 255; None for any other.

    Args:
        pil_image: opened and not yet decoded, its size checked.
        file: at its beginning.

    Raises:
        ReadError: pixels are missing, or above the largest number that the header says.
    """
    header = _HEADER.match(file.read(_HEAD_BYTES)) if pil_image.format == "PPM" else None
    if header is None or int(header[4]) <= 255:
        return None
    samples = 3 if header[1] in (b"3", b"6") else 1
    count = pil_image.width * pil_image.height * samples
    file.seek(header.end())
    numbers: NDArray[Any]
    if header[1] in (b"5", b"6"):
        numbers = np.frombuffer(file.read(2 * count), ">u2")
    else:
        numbers = np.array(_COMMENT.sub(b" ", file.read()).split()[:count], dtype=np.int64)
    if len(numbers) < count:
        raise ReadError(f"the image is cut short: {len(numbers)} of {count} numbers are there")
    if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) <= int(header[4]):
        raise ReadError(f"the image holds {int(numbers.max())}, above its largest number {int(header[4])}")
    shape = (pil_image.height, pil_image.width, 3)[: 2 if samples == 1 else 3]
    return numbers.astype(np.uint16).reshape(shape)

"""More than 8 bits as they are stored, where Pillow keeps the high bytes only (colour, transparency) or swaps them twice.

Pillow unpacks 16-bit samples with a byte order that is part of the decoder's name: given the wrong one, it keeps the low
byte. Both readings together hold every stored bit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmvl.errors import ReadError

_SWAPPED_TWICE = {"I;16BS": "I;16S", "I;32BS": "I;32S", "F;32BF": "F;32F"}


def is_deep_colour(pil_image: Image.Image) -> bool:
    """Return whether an image that was opened, but not yet decoded, holds several samples of 16 bits."""
    return ";16" in _unpacker(pil_image) and pil_image.mode not in (
        "I",
        "I;16",
        "I;16B",
        "I;16L",
        "I;16N",
        "F",
    )


def set_byte_order(pil_image: Image.Image) -> None:
    """Tell Pillow that libtiff has put compressed numbers into this machine's byte order already.

    Pillow does so for unsigned 16 bits; other compressed big-endian numbers it would swap once more.
    """
    tiles: Any = getattr(pil_image, "tile", None)
    swapped = _SWAPPED_TWICE.get(_unpacker(pil_image))
    if tiles and swapped is not None and tiles[0].codec_name == "libtiff" and sys.byteorder == "little":
        pil_image.tile = [tile._replace(args=_renamed(tile.args, swapped)) for tile in tiles]  # type: ignore[attr-defined]


def deep_colour(
    pil_image: Image.Image, opened: Callable[[], AbstractContextManager[Image.Image]]
) -> NDArray[np.uint16]:
    """Return `(H, W)` or `(H, W, 3)` as stored; transparency is left out, and colour weighted by it is divided by it.

    Args:
        pil_image: at the page that is meant.
        opened: opens the same file again.

    Raises:
        ReadError: for colours other than grey and RGB.
    """
    unpacker, frame = _unpacker(pil_image), pil_image.tell()
    name = unpacker.split(";")[0]
    if name == "LA":  # Four bytes per pixel: high and low of grey, high and low of transparency.
        four = _decoded(opened, frame, "RGBA").astype(np.uint16)
        return (four[..., 0] << 8 | four[..., 1]).astype(np.uint16)
    if name not in ("RGB", "RGBA", "RGBX", "RGBa"):
        raise ReadError(
            f"the image's colours are {name} in 16 bits, which is not read; save it as a PNG of 16 bits"
        )
    weighted, asked = name == "RGBa", "RGBA" if name == "RGBa" else name
    orders = ("B", "L") if unpacker.endswith("B") else ("L", "B")
    if unpacker.endswith("N") and sys.byteorder == "big":
        orders = ("B", "L")
    high, low = (_decoded(opened, frame, f"{asked};16{order}").astype(np.uint16) for order in orders)
    both = (high << 8 | low).astype(np.uint16)
    return _unweighted(both) if weighted else both[..., :3]


def _unpacker(pil_image: Image.Image) -> str:
    """Return Pillow's name for how samples lie in the file, such as "RGB;16B"."""
    tiles: Any = getattr(pil_image, "tile", None)
    if not tiles:
        return ""
    arguments = tiles[0].args
    return str(arguments[0] if isinstance(arguments, tuple) else arguments)


def _decoded(
    opened: Callable[[], AbstractContextManager[Image.Image]], frame: int, unpacker: str
) -> NDArray[np.uint8]:
    with opened() as pil_image:
        if frame:
            pil_image.seek(frame)
        tiles: Any = pil_image.tile  # type: ignore[attr-defined]
        pil_image.tile = [tile._replace(args=_renamed(tile.args, unpacker)) for tile in tiles]  # type: ignore[attr-defined]
        pil_image.load()
        return np.asarray(pil_image)


def _renamed(arguments: Any, unpacker: str) -> Any:
    return (unpacker, *arguments[1:]) if isinstance(arguments, tuple) else unpacker


def _unweighted(both: NDArray[np.uint16]) -> NDArray[np.uint16]:
    alpha = np.maximum(both[..., 3:], 1).astype(np.float64)
    return np.minimum(np.rint(both[..., :3] * 65535.0 / alpha), 65535).astype(np.uint16)

"""Ordinary pictures: PNG, JPEG, TIFF, BMP and WebP, in 8 and 16 bit."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from medmvl.errors import AmbiguousSourceError, ReadError
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.limits import check_size
from medmvl.imaging.selector import Selector, pick

MAX_PIXELS = 2**28
"""Largest picture: 16384 x 16384. A small file can claim far more, and would be decoded into memory."""
MAX_PIXELS_PER_BYTE = 10_000
"""No picture of a patient is packed tighter: deflate ends at 8256 pixels of one bit a byte, JPEG far below."""
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_MARKS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"BM")


def sniff(head: bytes, path: Path) -> bool:
    """Tell whether these are the first bytes of a picture; a DICOM file may begin like a TIFF to please other programs."""
    if head[128:132] == b"DICM":
        return False
    return head.startswith(_MARKS) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def read_raster(path: Path, selector: Selector) -> MedicalImage:
    """Read a picture as `(H, W)` or `(H, W, 3)`; 8 bit has units "display", deeper greyscale "arbitrary".

    EXIF rotation is applied; palette, CMYK and transparency become RGB (transparent parts keep their colour).

    Raises:
        AmbiguousSourceError: for several pages or frames, which `#frame=N` chooses from.
        ReadError: where it is damaged, cut short, too large or of an unknown kind.
    """
    selector.refuse_others("frame")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=_FORMATS) as picture:
                return _decode(picture, selector, path.stat().st_size)
    except UnidentifiedImageError as error:
        raise ReadError("the picture's header is damaged or of an unknown kind") from error
    except Image.DecompressionBombError as error:
        raise ReadError(
            f"the header claims more than {MAX_PIXELS} pixels: refused before decoding"
        ) from error
    except ReadError:
        raise
    except (
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
        TypeError,
        KeyError,
        IndexError,
        OverflowError,
    ) as error:
        raise ReadError("the picture is damaged or cut short") from error
    except (
        RuntimeError,
        ArithmeticError,
        AttributeError,
        AssertionError,
    ) as error:  # Pillow's plugins on bad headers
        raise ReadError("the picture is damaged") from error


def _decode(picture: Image.Image, selector: Selector, stored: int) -> MedicalImage:
    source_format = (picture.format or "picture").lower()
    _choose_frame(picture, selector)
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise ReadError(
            f"the header claims {width} x {height} pixels; the limit is {MAX_PIXELS}: refused before decoding"
        )
    if width * height > stored * MAX_PIXELS_PER_BYTE:
        raise ReadError(
            f"the header claims {width} x {height} pixels in {stored} bytes: refused before decoding"
        )
    check_size((height, width), 4)
    picture.load()
    upright = ImageOps.exif_transpose(picture)
    array, units = _pixels(upright)
    return MedicalImage(array=array, kind="image", units=units, source_format=source_format)


def _choose_frame(picture: Image.Image, selector: Selector) -> None:
    count = int(getattr(picture, "n_frames", 1))
    if selector.frame is not None:
        picture.seek(pick(selector.frame, count, "frame"))
    elif count > 1:
        raise AmbiguousSourceError(
            f"the file holds {count} pages or frames; choose one with #frame=1 ... #frame={count}"
        )


def _pixels(picture: Image.Image) -> tuple[NDArray[Any], str]:
    if picture.mode in ("L", "1"):
        return np.asarray(picture.convert("L")), "display"
    if picture.mode in _DEEP_MODES:
        return _deep(np.asarray(picture)), "arbitrary"
    if picture.mode == "LA":
        return np.asarray(picture.getchannel("L")), "display"
    return np.asarray(picture.convert("RGB")), "display"


def _deep(array: NDArray[Any]) -> NDArray[Any]:
    """Return 16-bit greyscale as it was stored; Pillow widens some of it to 32 bit."""
    native = array.astype(array.dtype.newbyteorder("="))
    if native.dtype == np.int32 and native.min() >= 0 and native.max() <= 65535:
        return native.astype(np.uint16)
    if native.dtype.kind == "f" and not np.isfinite(native).all():
        raise ReadError("the picture holds values that are not finite")
    return native

"""Ordinary images: PNG, JPEG, TIFF, BMP, WebP, PGM and PPM by Pillow, in 8 and 16 bit; JPEG XL in its own file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from medmvl.errors import AmbiguousSourceError, Choice, ReadError
from medmvl.imaging import jpeg_xl
from medmvl.imaging.deep_colour import deep_colour, is_deep_colour, set_byte_order
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.limits import check_expansion, check_size
from medmvl.imaging.netpbm import deep_netpbm
from medmvl.imaging.selector import Selector, pick
from medmvl.imaging.silence import silence_libtiff
from medmvl.imaging.tiff_header import (
    PHOTOMETRIC,
    PLANAR,
    SAMPLE_FORMAT,
    SAMPLES,
    TiffPage,
    black_is_zero,
    tiff_pages,
)
from medmvl.imaging.unread_formats import refuse_unreadable_jpeg

MAX_PIXELS = 2**28
"""Largest image: 16384 x 16384. A small file can claim far more, and would be decoded into memory."""
MAX_PIXELS_PER_BYTE = 10_000
"""No image of a patient is packed tighter: deflate ends at 8256 pixels of one bit per byte, JPEG far below."""
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "PPM")
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_COLOUR_MODES = ("RGB", "RGBA", "RGBX", "RGBa", "La", "P", "PA", "CMYK", "YCbCr")
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MARKS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", *_TIFF, b"BM")
_EXIF_ORIENTATION = 0x0112
_SAVE_AS = "save it as a PNG of 8 or 16 bits, or as .npy"
OPAQUE = 255
UNEQUAL = 0.02
"""Share by which the sides of a pixel may differ."""
_SEPARATED, _UNSIGNED, _SIGNED = 5, 1, 2


def sniff(head: bytes, path: Path) -> bool:
    """Return whether these are the first bytes of an image; a DICOM file may begin like a TIFF to please other programs."""
    if head[128:132] == b"DICM":
        return False
    if head[:1] == b"P" and head[1:2] in b"2356" and head[2:3].isspace():
        return True
    webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    return webp or head.startswith(_MARKS) or jpeg_xl.sniff(head)


def read_raster(path: Path, selector: Selector) -> MedicalImage:
    """Read an image as `(H, W)` or `(H, W, 3)`; 8 bit has units "display", deeper ones "arbitrary".

    EXIF rotation is applied; palette, CMYK and transparency become RGB (transparent parts keep their colour). White is
    the largest number in every depth.

    Raises:
        AmbiguousSourceError: for several pages or frames, which `#frame=N` chooses from.
        MissingExtraError: for JPEG XL without its library.
        ReadError: where it is damaged, cut short, too large or of an unknown type.
    """
    selector.refuse_others("frame")
    with path.open("rb") as file:
        head = file.read(64)
    if jpeg_xl.sniff(head):
        return jpeg_xl.read_jpeg_xl(path, selector)
    refuse_unreadable_jpeg(path, head)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            silence_libtiff()
            return _read(path, head, selector)
    except UnidentifiedImageError as error:
        raise ReadError("the image's header is damaged or of an unknown type") from error
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
        raise ReadError("the image is damaged or cut short") from error
    except (
        RuntimeError,
        ArithmeticError,
        AttributeError,
        AssertionError,
    ) as error:  # Pillow's plugins on bad headers
        raise ReadError("the image is damaged") from error


def _read(path: Path, head: bytes, selector: Selector) -> MedicalImage:
    pages = tiff_pages(path) if head.startswith(_TIFF) else []
    _refuse_stack(pages)
    turned = any(page.white_is_zero for page in pages)

    @contextmanager
    def opened() -> Iterator[Image.Image]:
        """As a stream: given a path, Pillow maps turned grey TIFFs into memory with their sides swapped."""
        with (
            black_is_zero(path, pages) if turned else path.open("rb") as file,
            Image.open(file, formats=_FORMATS) as pil_image,
        ):
            yield pil_image

    try:
        with opened() as pil_image:
            number = _choose_frame(pil_image, selector)
            page = pages[number] if number < len(pages) else None
            return _decode(pil_image, opened, page, path)
    except (UnidentifiedImageError, SyntaxError) as error:
        if pages:
            raise ReadError(f"a TIFF with {pages[0].described()} is not read; {_SAVE_AS}") from error
        raise


def _refuse_stack(pages: list[TiffPage]) -> None:
    """Raise ReadError for a stack of slices within one page, of which Pillow would read the first."""
    if len(pages) == 1 and (count := pages[0].num_slices) > 1:
        raise ReadError(
            f"the TIFF holds {count} slices within one page, as ImageJ writes large stacks: save them as NIfTI or NRRD, or one "
            "page per slice"
        )


def _decode(
    pil_image: Image.Image,
    opened: Callable[[], AbstractContextManager[Image.Image]],
    page: TiffPage | None,
    path: Path,
) -> MedicalImage:
    source_format = (pil_image.format or "image").lower()
    _check_claims(pil_image, path.stat().st_size)
    if page is not None:
        _refuse_planes(page)
        set_byte_order(pil_image)
    array, units = _samples(pil_image, opened, path)
    array, units = (array, units) if page is None else _as_stored(array, units, page)
    upright = (
        _orientation(pil_image) if page is None else _as_it_is
    )  # Pillow turns a TIFF itself while it is loaded
    notes = [
        *_hidden_parts(pil_image),
        *(_pixel_shape(pil_image) if page is None else page.resolution_note()),
    ]
    if page is not None and page.white_is_zero:
        array, note = _turned_round(array, page)
        notes += note
    array = np.ascontiguousarray(upright(array))
    return MedicalImage(
        array=array, kind="image", units=units, source_format=source_format, warnings=tuple(notes)
    )


def _samples(
    pil_image: Image.Image, opened: Callable[[], AbstractContextManager[Image.Image]], path: Path
) -> tuple[NDArray[Any], str]:
    """Return pixels and units, read in the way that loses none of their bits."""
    if pil_image.format == "PPM":
        with path.open("rb") as file:
            deep = deep_netpbm(pil_image, file)
        if deep is not None:
            return deep, "arbitrary"
    if is_deep_colour(pil_image):  # asked before anything makes Pillow decode
        return deep_colour(pil_image, opened), "arbitrary"
    pil_image.load()
    return _pixels(pil_image)


def _hidden_parts(pil_image: Image.Image) -> list[str]:
    """Warn of transparent pixels: other programs show what is under them, here is what they hold."""
    if "transparency" in pil_image.info and pil_image.mode in ("P", "L", "RGB", "1"):
        pil_image = pil_image.convert("RGBA")
    if "A" not in pil_image.getbands() and "a" not in pil_image.getbands():
        return []
    opacity = np.asarray(pil_image.getchannel(pil_image.getbands()[-1]))
    count = int((opacity < OPAQUE).sum())
    said = f"{count} of {opacity.size} pixels are transparent, wholly or in part: they are shown here by the colours they hold"
    return [said] if count else []


def _pixel_shape(pil_image: Image.Image) -> list[str]:
    """Warn of pixels that PNG or JFIF call wider than high, or the other way round."""
    density = pil_image.info.get("aspect") or pil_image.info.get("dpi") or pil_image.info.get("jfif_density")
    if (
        pil_image.format not in ("PNG", "JPEG")
        or density is None
        or not all(float(part) > 0 for part in density)
    ):
        return []
    across, down = (float(part) for part in density)
    if abs(across / down - 1) <= UNEQUAL:
        return []
    return [
        f"a pixel is not square ({across:g} per length across, {down:g} down): shapes in the array are stretched; declare "
        "spacing_mm if you know the size of a pixel"
    ]


def _check_claims(pil_image: Image.Image, stored: int) -> None:
    width, height = pil_image.size
    if width * height > MAX_PIXELS:
        raise ReadError(
            f"the header claims {width} x {height} pixels; the limit is {MAX_PIXELS}: refused before decoding"
        )
    if width * height > stored * MAX_PIXELS_PER_BYTE:
        raise ReadError(
            f"the header claims {width} x {height} pixels in {stored} bytes: refused before decoding"
        )
    check_size((height, width), 4)
    check_expansion(width * height * len(pil_image.getbands()), stored)


def _refuse_planes(page: TiffPage) -> None:
    """Raise ReadError for planes of 16 bits and for deep CMYK, which Pillow reads wrong without a word."""
    deep = max(page.bits, default=1) > 8 and page.first(SAMPLES, 1) > 1
    if deep and (page.first(PLANAR, 1) == 2 or page.first(PHOTOMETRIC, 1) == _SEPARATED):
        raise ReadError(f"a TIFF with {page.described()} is not read; {_SAVE_AS}")


def _as_stored(array: NDArray[Any], units: str, page: TiffPage) -> tuple[NDArray[Any], str]:
    """Undo what Pillow makes of signed 8-bit and unsigned 32-bit numbers."""
    sample_format = page.first(SAMPLE_FORMAT, 1)
    if page.bits == (8,) and sample_format == _SIGNED:
        return array.view(np.int8), "arbitrary"
    if page.bits == (32,) and sample_format == _UNSIGNED and array.dtype == np.int32:
        return array.view(np.uint32), units
    return array, units


def _orientation(pil_image: Image.Image) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return what sets the pixels upright as the EXIF tag of the camera says."""
    turns = {
        2: (0, True),
        3: (2, False),
        4: (2, True),
        5: (3, True),
        6: (3, False),
        7: (1, True),
        8: (1, False),
    }
    quarter_turns, mirrored = turns.get(int(pil_image.getexif().get(_EXIF_ORIENTATION, 1) or 1), (0, False))

    def upright(array: NDArray[Any]) -> NDArray[Any]:
        rotated = np.rot90(array, quarter_turns)
        return rotated[:, ::-1] if mirrored else rotated

    return upright


def _as_it_is(array: NDArray[Any]) -> NDArray[Any]:
    return array


def _turned_round(array: NDArray[Any], page: TiffPage) -> tuple[NDArray[Any], list[str]]:
    """Return white-is-zero pixels with white as the largest number: the complement within the bits that are stored."""
    if array.dtype.kind == "f":
        return -array, ["white is zero in a TIFF of floating-point numbers: their signs were turned round"]
    if array.dtype == np.uint8 or array.dtype.kind == "i":
        return ~array, []
    largest = min(2 ** page.bits[0] - 1, int(np.iinfo(array.dtype).max))
    return (largest - array).astype(array.dtype), []


def _choose_frame(pil_image: Image.Image, selector: Selector) -> int:
    """Go to the page that was asked for; return its 0-based number."""
    count = int(getattr(pil_image, "n_frames", 1))
    if selector.frame is None and count > 1:
        raise AmbiguousSourceError(f"the file holds {count} pages or frames", Choice("frame", count))
    number = 0 if selector.frame is None else pick(selector.frame, count, "frame")
    if number:
        pil_image.seek(number)
    return number


def _pixels(pil_image: Image.Image) -> tuple[NDArray[Any], str]:
    if pil_image.mode in ("L", "1"):
        return np.asarray(pil_image.convert("L")), "display"
    if pil_image.mode in _DEEP_MODES:
        return _deep(np.asarray(pil_image)), "arbitrary"
    if pil_image.mode == "LA":
        return np.asarray(pil_image.getchannel("L")), "display"
    if pil_image.mode not in _COLOUR_MODES:
        raise ReadError(f"the image's colours are {pil_image.mode}, which is not read; {_SAVE_AS}")
    return np.asarray(pil_image.convert("RGB")), "display"


def _deep(array: NDArray[Any]) -> NDArray[Any]:
    """Return greyscale of more than 8 bits as it was stored; Pillow widens some of it to 32 bit."""
    native = array.astype(array.dtype.newbyteorder("="))
    if native.dtype == np.int32 and native.min() >= 0 and native.max() <= 65535:
        return native.astype(np.uint16)
    if native.dtype.kind == "f" and not np.isfinite(native).all():
        raise ReadError("the image holds values that are not finite")
    return native

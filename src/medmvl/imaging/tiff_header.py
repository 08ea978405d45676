"""The few tags of a TIFF that decide what its numbers mean, and the same file marked as black-is-zero.

Pillow turns white-is-zero images round in 8 bits and fewer, and leaves them as they are in 16: here every depth is
read as it is stored, and turned round once. Tags: TIFF 6.0; BigTIFF: https://libtiff.gitlab.io/libtiff/specification/bigtiff.html
"""

from __future__ import annotations

import io
import math
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from medmvl.errors import ReadError
from medmvl.imaging.lengths import MILLIMETRES

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 16: "Q", 17: "q", 18: "Q"}
BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, X_RESOLUTION, PLANAR, RESOLUTION_UNIT, SAMPLE_FORMAT = (
    258, 259, 262, 277, 282, 284, 296, 339,
)  # fmt: skip
_Y_RESOLUTION, _DESCRIPTION, _DEPTH, _WIDTH, _LENGTH = 283, 270, 32997, 256, 257
_WANTED = (
    BITS, COMPRESSION, PHOTOMETRIC, SAMPLES, X_RESOLUTION, _Y_RESOLUTION, PLANAR, RESOLUTION_UNIT, SAMPLE_FORMAT,
    _DESCRIPTION, _DEPTH, _WIDTH, _LENGTH,
)  # fmt: skip
_MAX_PAGES, _MAX_TAGS, _MAX_VALUES, _MAX_TEXT = 10_000, 4096, 64, 2048
_COLOURS = {
    0: "white is zero", 1: "black is zero", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab",
    32803: "colour filter array", 34892: "linear raw", 32844: "log luminance", 32845: "log LUV",
}  # fmt: skip
_FORMATS = {
    1: "unsigned",
    2: "signed",
    3: "floating-point",
    4: "undefined",
    5: "complex integer",
    6: "complex",
}


@dataclass
class TiffPage:
    """Tags of one image in a TIFF."""

    tags: dict[int, tuple[float, ...]] = field(default_factory=dict)
    description: str = ""
    """Image Description, where programs say of what shape the whole is."""
    photometric_at: int | None = None
    """Offset in the file of the photometric interpretation, as a 16-bit number."""

    def first(self, tag: int, default: int) -> int:
        """Return the first value of a tag."""
        return int(self.tags.get(tag, (default,))[0])

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits per sample."""
        return tuple(int(n) for n in self.tags.get(BITS, (1,)))

    @property
    def white_is_zero(self) -> bool:
        """Whether the smallest number is shown as white."""
        return self.first(PHOTOMETRIC, 1) == 0

    @property
    def num_slices(self) -> int:
        """Slices that follow one another within this page, as ImageJ, tifffile and the tag Image Depth say."""
        found = re.search(r"^images=(\d{1,6})\s*$", self.description, re.MULTILINE)
        if self.description.startswith("ImageJ=") and found:
            return int(found[1])
        shape = re.fullmatch(r'\{"shape": \[([\d, ]{1,200})\].*\}', self.description.strip(" \0\n"))
        if shape:
            height, width = self.first(_LENGTH, 1), self.first(_WIDTH, 1)
            samples = self.first(SAMPLES, 1)
            return math.prod(int(n) for n in shape[1].split(",")) // max(1, height * width * samples)
        return self.first(_DEPTH, 1)

    def described(self) -> str:
        """Say what the image is, for errors."""
        bits = ", ".join(map(str, self.bits))
        colour = _COLOURS.get(self.first(PHOTOMETRIC, 1), f"photometric {self.first(PHOTOMETRIC, 1)}")
        sample_format = _FORMATS.get(self.first(SAMPLE_FORMAT, 1), "undefined")
        planar = ", one plane per sample" if self.first(PLANAR, 1) == 2 else ""
        samples = f"{self.first(SAMPLES, 1)} {sample_format} samples of {bits} bits"
        return f"{samples}, {colour}{planar}, compression {self.first(COMPRESSION, 1)}"

    def _imagej_unit(self) -> float | None:
        """Millimetres of the unit that ImageJ counts pixels in, None where it names none."""
        found = re.search(r"^unit=(\S{1,20})\s*$", self.description, re.MULTILINE)
        if not self.description.startswith("ImageJ=") or found is None:
            return None
        return MILLIMETRES.get(found[1].replace("\\u00B5", "u").lower())

    def resolution_note(self) -> list[str]:
        """Return what the resolution would mean as spacing: it is not taken, as it is mostly that of a printer."""
        unit = self._imagej_unit() or {2: 25.4, 3: 10.0}.get(self.first(RESOLUTION_UNIT, 2))
        resolution = [self.tags.get(tag, (0.0,))[0] for tag in (_Y_RESOLUTION, X_RESOLUTION)]
        if (
            unit is None
            or min(resolution) <= 0
            or {round(r * 25.4 / unit) for r in resolution} <= {1, 72, 96}
        ):
            return []
        said = " x ".join(f"{unit / r:.4g}" for r in resolution)
        return [
            f"the TIFF's resolution would be a spacing of {said} mm (rows x columns); it was not taken, as it is often "
            "that of a printer: declare spacing_mm if it is the scan's"
        ]


def tiff_pages(path: Path) -> list[TiffPage]:
    """Return the tags of every image of a TIFF, in order.

    Raises:
        ReadError: where the header is damaged.
    """
    with path.open("rb") as file:
        try:
            return _pages(file)
        except (struct.error, KeyError, OverflowError, ZeroDivisionError) as error:
            raise ReadError("the TIFF's header is damaged or cut short") from error


def black_is_zero(path: Path, pages: list[TiffPage]) -> BinaryIO:
    """Return the bytes of the file in which every white-is-zero image says that black is zero."""
    data = bytearray(path.read_bytes())
    order = "<" if data[:2] == b"II" else ">"
    for page in pages:
        if page.white_is_zero and page.photometric_at is not None:
            struct.pack_into(f"{order}H", data, page.photometric_at, 1)
    return io.BytesIO(data)


def _pages(file: BinaryIO) -> list[TiffPage]:
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack_from(f"{order}H", head, 2)[0] == 43
    at = struct.unpack_from(f"{order}Q", head, 8)[0] if big else struct.unpack_from(f"{order}I", head, 4)[0]
    pages: list[TiffPage] = []
    while at:
        if len(pages) >= _MAX_PAGES:
            raise ReadError(f"the TIFF claims more than {_MAX_PAGES} pages")
        page, at = _page(file, at, order, big)
        pages.append(page)
    return pages


def _page(file: BinaryIO, at: int, order: str, big: bool) -> tuple[TiffPage, int]:
    page = TiffPage()
    file.seek(at)
    count_code, entry, inline, offset_code = ("Q", 20, 8, "Q") if big else ("H", 12, 4, "I")
    count_size = struct.calcsize(count_code)
    count = struct.unpack(f"{order}{count_code}", file.read(count_size))[0]
    if count > _MAX_TAGS:
        raise ReadError(f"the TIFF claims {count} tags in one page")
    entries = file.read(count * entry + struct.calcsize(offset_code))
    for number in range(count):
        tag, field_type = struct.unpack_from(f"{order}HH", entries, number * entry)
        if tag not in _WANTED or field_type not in _SIZES:
            continue
        values = struct.unpack_from(f"{order}{offset_code}", entries, number * entry + 4)[0]
        place = number * entry + 4 + struct.calcsize(offset_code)
        if tag == PHOTOMETRIC and field_type == 3:
            page.photometric_at = at + count_size + place
        if tag == _DESCRIPTION:
            page.description = _text(file, entries, place, order + offset_code, values, inline)
        elif _SIZES[field_type] * values > inline:
            file.seek(struct.unpack_from(f"{order}{offset_code}", entries, place)[0])
            page.tags[tag] = _values(
                file.read(_SIZES[field_type] * min(values, _MAX_VALUES)), field_type, order
            )
        else:
            page.tags[tag] = _values(entries[place : place + _SIZES[field_type] * values], field_type, order)
    return page, int(struct.unpack_from(f"{order}{offset_code}", entries, count * entry)[0])


def _text(file: BinaryIO, entries: bytes, place: int, offset_code: str, length: int, inline: int) -> str:
    if length <= inline:
        return entries[place : place + length].decode("latin-1")
    file.seek(struct.unpack_from(offset_code, entries, place)[0])
    return file.read(min(length, _MAX_TEXT)).decode("latin-1").rstrip("\0")


def _values(data: bytes, field_type: int, order: str) -> tuple[float, ...]:
    if field_type in (5, 10):
        numbers = struct.unpack(
            f"{order}{len(data) // 4}{'I' if field_type == 5 else 'i'}", data[: len(data) // 8 * 8]
        )
        return tuple(n / d if d else 0.0 for n, d in zip(numbers[::2], numbers[1::2], strict=True))
    if field_type not in _CODES:
        return (0.0,)
    return struct.unpack(f"{order}{len(data) // _SIZES[field_type]}{_CODES[field_type]}", data)

"""Padding: the values stored where the scanner measured nothing (PS3.3 C.7.5.1.1.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydicom import uid

from medmvl.imaging.dicom_header import DicomFile
from medmvl.imaging.dicom_values import PARSER_ERRORS, tag_floats

LOSSY = frozenset([uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless])
MAX_ERROR = 0.01
"""Largest error of a lossy codec, as a share of the range of stored values."""
LOWEST_WITHOUT_AIR, LARGE_SLICE = -200, 64 * 64
"""A CT with nothing below this has no air in it; pixels of a slice that would be expected to show some."""
CONSTANT_SHARE, DEEPEST_AIR, LARGEST_HU = 1e-3, -1500, 32767
"""Share of voxels with one value below what air has, from which it is no noise; and what no scanner's scale reaches."""
_FLOAT_TAGS = ("FloatPixelPaddingValue", "DoubleFloatPixelPaddingValue")


class Padding(NamedTuple):
    """Range of the stored values that are padding."""

    low: float
    high: float
    lossy: bool = False

    def mask(self, stored: NDArray[Any]) -> NDArray[np.bool_]:
        """Say for each pixel whether it is padding."""
        found: NDArray[np.bool_] = (
            stored == self.low if self.low == self.high else (stored >= self.low) & (stored <= self.high)
        )
        return found


def reaching_edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return what of a mask is joined to an edge of the image along a row or a column, as the corners around a circle are."""
    found = np.zeros_like(mask)
    for axis in (0, 1):
        found |= np.logical_and.accumulate(mask, axis=axis)
        found |= np.flip(np.logical_and.accumulate(np.flip(mask, axis), axis=axis), axis)
    return found


def beyond_hounsfield(array: NDArray[Any], padded: bool) -> tuple[str, ...]:
    """Warn of values that no CT measures: negative ones read as large, or padding that the header does not name."""
    low, high = float(array.min()), float(array.max())
    if high > LARGEST_HU:
        return (
            f"values reach {high:g} HU, beyond what CT measures: the header may call negative values unsigned (Pixel "
            "Representation), or values outside the scanned field are not said to be padding",
        )
    if low > LOWEST_WITHOUT_AIR and array[0].size >= LARGE_SLICE:
        return (
            f"no value is below {LOWEST_WITHOUT_AIR} HU ({low:g} to {high:g}): there is no air, or Rescale Intercept is wrong",
        )
    count = int((array == array.min()).sum()) if low < DEEPEST_AIR and not padded else 0
    if count < max(2, CONSTANT_SHARE * array.size):
        return ()
    return (
        f"{count} voxels hold {low:g} HU, less than air: most likely padding that the header does not name; they are as stored",
    )


def padding_of(files: Sequence[DicomFile], stack: NDArray[Any]) -> list[Padding | None]:
    """Return the padding of each file, None where it has none; wider where pixels were compressed with loss.

    Args:
        files: the file of each frame.
        stack: the frames' stored values.
    """
    stated = [_stated(file) for file in files]
    lossy = [around is not None and _lossy(file) for file, around in zip(files, stated, strict=True)]
    if not any(lossy):
        return stated
    widened: dict[Padding, Padding | None] = {}
    for around, loses in zip(stated, lossy, strict=True):
        if around is not None and loses and around not in widened:
            widened[around] = _widened(around, stack)
    return [
        widened[around] if around is not None and loses else around
        for around, loses in zip(stated, lossy, strict=True)
    ]


def _lossy(file: DicomFile) -> bool:
    """Whether pixels went through a codec that loses something, now or before they were stored."""
    said = file.text("LossyImageCompression")
    return said == "01" or file.syntax in LOSSY or (file.syntax == uid.JPEG2000 and said != "00")


def _widened(around: Padding, stack: NDArray[Any]) -> Padding:
    """Take in what the codec left near the padding: as far as values go on without a gap, and no farther than its error."""
    distance = np.maximum(around.low - stack.astype(np.float64), stack.astype(np.float64) - around.high)
    most = max(2.0, MAX_ERROR * float(stack.max() - stack.min()))
    reach = 0.0
    while reach < most:
        wider = min(2 * reach + 1, most)
        near, beyond = int((distance <= reach).sum()), int(((distance > reach) & (distance <= wider)).sum())
        if near and beyond <= 0.002 * near:
            break
        reach = wider
    within = distance <= reach
    if around.low == around.high and within.any():
        off = abs(float(stack[within].mean(dtype=np.float64)) - around.low)
        reach = 0.0 if off > max(1.0, reach / 2) else reach  # these are tissue next to it, not padding
    return Padding(around.low - reach, around.high + reach, lossy=True)


def _stated(file: DicomFile) -> Padding | None:
    for keyword in _FLOAT_TAGS:
        number = tag_floats(file.header, keyword, 1)
        if number is not None:
            return Padding(number[0], number[0])
    value = _stored_number(file, "PixelPaddingValue")
    if value is None:
        return None
    limit = _stored_number(file, "PixelPaddingRangeLimit")
    return Padding(value, value) if limit is None else Padding(min(value, limit), max(value, limit))


def _stored_number(file: DicomFile, keyword: str) -> int | None:
    """Return a tag in stored values; its sign follows PixelRepresentation, whatever its VR."""
    found, bits = file.value(keyword), file.integer("BitsAllocated")
    try:
        number = None if found is None or bits > 32 else int(found) & (2**bits - 1)
    except PARSER_ERRORS:
        return None
    if number is None:
        return None
    stored, signed = file.integer("BitsStored", bits), file.integer("PixelRepresentation") == 1
    if not signed and 0 < stored < bits:
        return int(number & (2**stored - 1))  # bits beyond those stored are cleared in the pixels, too
    return int(number - 2**bits if signed and number >= 2 ** (bits - 1) else number)

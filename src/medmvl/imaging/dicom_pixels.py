"""Stored values to physical ones, settled once: padding, MONOCHROME1, slope and intercept or table, units.

Values of a volume are exact: int16 where they fit, else int32, float32 only where a slope is fractional.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import ReadError
from medmvl.imaging.dicom_decode import decode_files, stored_dtype
from medmvl.imaging.dicom_frames import Frame
from medmvl.imaging.dicom_header import PARSER_ERRORS, DicomFile, tag_value
from medmvl.imaging.limits import check_size

HU_OF_PADDING = -1024
_INT16 = np.iinfo(np.int16)
_INT32 = np.iinfo(np.int32)


class Values(NamedTuple):
    """Pixels of several frames with their meaning."""

    array: NDArray[Any]
    """`(frames, rows, columns)`, or `(frames, rows, columns, 3)` for colour."""
    units: str
    warnings: tuple[str, ...]


class Line(NamedTuple):
    """value = slope * stored + intercept, the inversion of MONOCHROME1 included."""

    slope: float
    intercept: float

    @property
    def whole(self) -> bool:
        """Whether whole numbers stay whole."""
        return self.slope == int(self.slope) and self.intercept == int(self.intercept)


def read_values(frames: Sequence[Frame]) -> Values:
    """Decode frames of one shape and return their physical values.

    Raises:
        ReadError: the pixels are damaged, or their sizes are absurd.
    """
    units, notes = units_of(frames[0])
    if is_colour(frames[0].file):
        return Values(_read_colour(frames), "display", ())
    stack = _read_stack(frames)
    padded = [_padding_range(frame.file) for frame in frames]
    if any(frame.file.value("ModalityLUTSequence") is not None for frame in frames):
        values = np.stack(
            [_looked_up(frame.file, stored) for frame, stored in zip(frames, stack, strict=True)]
        )
        return Values(_narrowed(values), units, notes)
    array, replaced = _rescaled(stack, [_line_of(frame) for frame in frames], padded, units)
    if replaced:
        value = "-1024 HU" if units == "HU" else "the lowest value"
        notes = (*notes, f"{replaced} padding voxels outside the scanned field were set to {value}")
    return Values(array, units, notes)


def is_colour(file: DicomFile) -> bool:
    """Whether the file's pixels are colours."""
    return (
        file.integer("SamplesPerPixel", 1) > 1 or file.value("PhotometricInterpretation") == "PALETTE COLOR"
    )


def units_of(frame: Frame) -> tuple[str, tuple[str, ...]]:
    """Return the units of a frame's values, and a warning where they are not what the modality promises."""
    file, modality = frame.file, frame.file.modality
    if modality == "CT" and frame.has_rescale:
        if frame.rescale_type.upper() in ("", "HU", "US"):
            return "HU", ()
        return "arbitrary", ("this CT is rescaled to something other than Hounsfield units",)
    own = str(file.value("Units" if modality in ("PT", "NM") else "DoseUnits") or "").strip()
    if modality in ("PT", "NM", "RTDOSE") and re.fullmatch(r"[A-Z0-9]{1,8}", own):
        return own, ()
    if modality == "CT" and file.value("ModalityLUTSequence") is None and file.integer("BitsAllocated") > 8:
        return "arbitrary", (
            "the CT has no rescale slope and intercept: its values are not Hounsfield units",
        )
    eight_bits = file.integer("BitsAllocated") == 8 and not frame.has_rescale
    return ("display" if eight_bits or is_colour(file) else "arbitrary"), ()


def _read_colour(frames: Sequence[Frame]) -> NDArray[Any]:
    rows, columns = frames[0].shape
    check_size((len(frames), rows, columns, 3), 1)
    pictures = np.empty((len(frames), rows, columns, 3), np.uint8)
    for at, stored in _decoded(frames):
        file = frames[at].file
        excess = max(0, file.integer("BitsStored", 8) - 8) if stored.dtype.itemsize > 1 else 0
        pictures[at] = (stored >> excess)[..., :3]
    return pictures


def _read_stack(frames: Sequence[Frame]) -> NDArray[Any]:
    kinds = {stored_dtype(file) for file in {id(f.file): f.file for f in frames}.values()}
    dtype = np.result_type(*kinds)
    check_size((len(frames), *frames[0].shape), dtype.itemsize)
    stack = np.empty((len(frames), *frames[0].shape), dtype)
    for at, stored in _decoded(frames):
        if stored.shape != frames[at].shape:
            raise ReadError("the decoded pixels do not have the size that the header says")
        stack[at] = stored
    return stack


def _decoded(frames: Sequence[Frame]) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (place in `frames`, stored values), opening every file once."""
    by_file: dict[int, list[int]] = {}
    for at, frame in enumerate(frames):
        by_file.setdefault(id(frame.file), []).append(at)
    wanted = [(frames[places[0]].file, [frames[at].index for at in places]) for places in by_file.values()]
    in_order = (at for places in by_file.values() for at in places)
    yield from zip(in_order, decode_files(wanted), strict=True)


def _line_of(frame: Frame) -> Line:
    if frame.file.value("PhotometricInterpretation") != "MONOCHROME1":
        return Line(frame.slope, frame.intercept)
    signed = frame.file.integer("PixelRepresentation") == 1
    white = -1 if signed else 2 ** frame.file.integer("BitsStored", frame.file.integer("BitsAllocated")) - 1
    return Line(-frame.slope, frame.slope * white + frame.intercept)


def _padding_range(file: DicomFile) -> tuple[int, int] | None:
    value = _stored_number(file, "PixelPaddingValue")
    if value is None:
        return None
    limit = _stored_number(file, "PixelPaddingRangeLimit")
    return (value, value) if limit is None else (min(value, limit), max(value, limit))


def _stored_number(file: DicomFile, keyword: str) -> int | None:
    """Return a tag in stored values; its sign follows PixelRepresentation, whatever its VR."""
    found, bits = file.value(keyword), file.integer("BitsAllocated")
    try:
        number = None if found is None or bits > 32 else int(found) & (2**bits - 1)
    except PARSER_ERRORS:
        return None
    if number is None:
        return None
    signed = file.integer("PixelRepresentation") == 1 and number >= 2 ** (bits - 1)
    return int(number - 2**bits if signed else number)


def _padding_mask(stored: NDArray[Any], padded: tuple[int, int] | None) -> NDArray[np.bool_] | None:
    if padded is None:
        return None
    mask = (stored >= padded[0]) & (stored <= padded[1]) if padded[0] != padded[1] else stored == padded[0]
    return mask if mask.any() and not mask.all() else None


def _rescaled(
    stack: NDArray[Any], lines: list[Line], padded: list[tuple[int, int] | None], units: str
) -> tuple[NDArray[Any], int]:
    """Apply each frame's line, in place where it fits; return the values and how many were padding."""
    low, high = _bounds(stack, lines, padded)
    low = min(low, HU_OF_PADDING) if units == "HU" and any(padded) else low
    dtype = _result_dtype(stack.dtype, lines, low, high, units)
    out = (
        stack.view(dtype)
        if dtype.itemsize == stack.dtype.itemsize and dtype.kind in "iu"
        else np.empty(stack.shape, dtype)
    )
    replaced = 0
    for stored, line, around, values in zip(stack, lines, padded, out, strict=True):
        mask = _padding_mask(stored, around)
        _apply_line(stored, line, values)
        if mask is not None:
            values[mask] = HU_OF_PADDING if units == "HU" else low
            replaced += int(mask.sum())
    return out, replaced


def _bounds(
    stack: NDArray[Any], lines: list[Line], padded: list[tuple[int, int] | None]
) -> tuple[float, float]:
    """Return the smallest and largest value after rescaling, padding left out."""
    ends: list[float] = []
    for stored, line, around in zip(stack, lines, padded, strict=True):
        mask = _padding_mask(stored, around)
        real = stored if mask is None else stored[~mask]
        if real.dtype.kind == "f":
            real = real[np.isfinite(real)] if not np.isfinite(real).all() else real
        if real.size:
            ends += [line.slope * end.item() + line.intercept for end in (real.min(), real.max())]
    return (min(ends), max(ends)) if ends else (0.0, 0.0)


def _result_dtype(
    stored: np.dtype[Any], lines: list[Line], low: float, high: float, units: str
) -> np.dtype[Any]:
    if stored.kind == "f" or not all(line.whole for line in lines):
        return np.dtype(np.float32)
    if units == "display" and stored == np.uint8 and low >= 0 and high <= 255:
        return np.dtype(np.uint8)
    if low >= _INT16.min and high <= _INT16.max:
        return np.dtype(np.int16)
    return np.dtype(np.int32 if low >= _INT32.min and high <= _INT32.max else np.float32)


def _apply_line(stored: NDArray[Any], line: Line, out: NDArray[Any]) -> None:
    if out.dtype.kind == "f":
        out[:] = stored.astype(np.float64) * line.slope + line.intercept
        return
    # Whole numbers: arithmetic modulo 2^bits is exact, because the result is known to fit.
    bits = 8 * out.dtype.itemsize
    wrapping = out.view(f"u{out.dtype.itemsize}")
    if out.base is not stored.base:
        np.copyto(wrapping, stored, casting="unsafe")
    if line.slope != 1:
        np.multiply(wrapping, wrapping.dtype.type(int(line.slope) % 2**bits), out=wrapping)
    if line.intercept != 0:
        np.add(wrapping, wrapping.dtype.type(int(line.intercept) % 2**bits), out=wrapping)


def _looked_up(file: DicomFile, stored: NDArray[Any]) -> NDArray[Any]:
    """Apply the Modality LUT Sequence (PS3.3 C.11.1.1); MONOCHROME1 is inverted in the table's own range."""
    sequence = file.value("ModalityLUTSequence")
    if sequence is None:
        raise ReadError("some slices have a modality table and others none")
    descriptor, data = tag_value(sequence[0], "LUTDescriptor"), tag_value(sequence[0], "LUTData")
    if descriptor is None or data is None or len(descriptor) != 3:
        raise ReadError("the modality table (Modality LUT Sequence) is incomplete")
    count, bits = int(descriptor[0]) or 2**16, int(descriptor[2])
    first = int(descriptor[1])
    if file.integer("PixelRepresentation") == 1 and first >= 2**15:
        first -= 2**16
    order = ">" if file.big_endian else "<"
    table = np.frombuffer(data, f"{order}u2") if isinstance(data, bytes) else np.atleast_1d(np.asarray(data))
    table = table[:count].astype(np.int64)
    if len(table) < count or not 1 <= bits <= 16:
        raise ReadError(f"the modality table claims {count} entries of {bits} bits and holds {len(table)}")
    values = table[np.clip(stored.astype(np.int64) - first, 0, count - 1)]
    inverted = file.value("PhotometricInterpretation") == "MONOCHROME1"
    return (2**bits - 1 - values) if inverted else values


def _narrowed(values: NDArray[Any]) -> NDArray[Any]:
    fits = _INT16.min <= values.min() and values.max() <= _INT16.max
    return values.astype(np.int16 if fits else np.int32)

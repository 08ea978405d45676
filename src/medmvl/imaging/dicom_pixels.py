"""Stored values to physical ones, in one place: padding, MONOCHROME1, slope and intercept, tables and mappings, units.

Values of a volume are exact: int16 where they fit, else int32, float32 only where a slope is fractional.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import ReadError
from medmvl.imaging.dicom_decode import decode_files, is_direct, read_direct, stored_dtype
from medmvl.imaging.dicom_frames import Frame
from medmvl.imaging.dicom_header import DicomFile
from medmvl.imaging.dicom_labels import read_labels, segmentation_type
from medmvl.imaging.dicom_meaning import Line, Meaning, inverted, meanings_of, units_of
from medmvl.imaging.dicom_padding import Padding, beyond_hounsfield, padding_of, reaching_edge
from medmvl.imaging.dicom_values import lut_entries, tag_value
from medmvl.imaging.limits import check_size
from medmvl.imaging.threads import by_parts

HU_OF_PADDING = -1024
TISSUE_HU = (-900, 3072)
_INT16 = np.iinfo(np.int16)
_INT32 = np.iinfo(np.int32)


class Values(NamedTuple):
    """Pixels of several frames with their meaning."""

    array: NDArray[Any]
    """`(frames, rows, columns)`, or `(frames, rows, columns, 3)` for colour."""
    units: str
    warnings: tuple[str, ...]


def read_values(frames: Sequence[Frame]) -> Values:
    """Decode frames of one shape and return their physical values.

    Raises:
        ReadError: the pixels are damaged, their sizes are absurd, or they do not all mean the same.
    """
    file = frames[0].file
    if segmentation_type(file):
        array, units = read_labels(frames, read_stack(frames))
        return Values(array, units, ())
    if is_colour(file):
        return Values(_read_colour(frames), "display", ())
    meanings = meanings_of(frames)
    units, notes = meanings[0].units, tuple(dict.fromkeys(note for one in meanings for note in one.notes))
    stack = read_stack(frames)
    padded = padding_of([frame.file for frame in frames], stack)
    if any(meaning.pieces for meaning in meanings):
        notes = (*notes, *_outside(stack, meanings, padded))
    if any(meaning.table or _by_pieces(meaning) for meaning in meanings):
        array, more = _through_tables(frames, meanings, stack)
        replaced = _without_padding(array, stack, padded, units)
    else:
        (array, replaced), more = _rescaled(stack, [meaning.line for meaning in meanings], padded, units), ()
    if units == "HU":
        more = (*more, *beyond_hounsfield(array, replaced > 0))
    if replaced:
        value = "-1024 HU" if units == "HU" else "the lowest value"
        more = (*more, f"{replaced} padding voxels outside the scanned field were set to {value}")
    if any(
        around and _as_tissue(around, one.line, units) for around, one in zip(padded, meanings, strict=True)
    ):
        more = (
            *more,
            "tissue has the Pixel Padding Value, too: only what reaches the edge of an image was taken for padding",
        )
    surprises = dict.fromkeys(said for frame in frames for said in sorted(frame.file.surprises))
    return Values(array, units, (*notes, *more, *surprises))


def is_colour(file: DicomFile) -> bool:
    """Whether the file's pixels are colours."""
    return file.integer("SamplesPerPixel", 1) > 1 or palette_of(file)


def palette_of(file: DicomFile) -> bool:
    """Whether stored values are places in tables of colours."""
    return file.value("PhotometricInterpretation") == "PALETTE COLOR" and not segmentation_type(file)


def _full_range(colours: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Colours of fewer than 8 bits with their largest number as white."""
    largest = 2**bits - 1
    scaled: NDArray[np.uint16] = np.minimum(colours, largest).astype(np.uint16) * 255 // largest
    return scaled.astype(np.uint8)


def _read_colour(frames: Sequence[Frame]) -> NDArray[Any]:
    rows, columns = frames[0].shape
    check_size((len(frames), rows, columns, 3), 1)
    colours = np.empty((len(frames), rows, columns, 3), np.uint8)
    for at, stored in _decoded(frames):
        file = frames[at].file
        bits = file.integer("BitsStored", 8)
        excess = max(0, bits - 8) if stored.dtype.itemsize > 1 else 0
        colours[at] = (stored >> excess)[..., :3]
        if 0 < bits < 8 and not palette_of(file):
            colours[at] = _full_range(colours[at], bits)
    return colours


def read_stack(frames: Sequence[Frame]) -> NDArray[Any]:
    """Return the stored values of frames of one shape, `(frames, rows, columns)`; frames left out as empty hold 0."""
    dtypes = {stored_dtype(file) for file in {id(f.file): f.file for f in frames}.values()}
    dtype = np.result_type(*dtypes)
    check_size((len(frames), *frames[0].shape), dtype.itemsize)
    make = np.zeros if any(frame.blank for frame in frames) else np.empty
    stack = make((len(frames), *frames[0].shape), dtype)
    direct = [at for at, frame in enumerate(frames) if _is_direct(frame, dtype)]
    by_parts(lambda part: _read_direct(frames, stack, [direct[i] for i in part]), len(direct), stack.nbytes)
    for at, stored in _decoded(frames, without=set(direct)):
        if stored.shape != frames[at].shape:
            raise ReadError("the decoded pixels do not have the size that the header says")
        stack[at] = stored
    return stack


def _is_direct(frame: Frame, dtype: np.dtype[Any]) -> bool:
    """Whether the frame's bytes are its place in a stack of this type."""
    file = frame.file
    if frame.blank or frame.tile is not None or not is_direct(file) or stored_dtype(file) != dtype:
        return False
    return frame.shape == (file.integer("Rows"), file.integer("Columns"))


def _read_direct(frames: Sequence[Frame], stack: NDArray[Any], places: Sequence[int]) -> None:
    for _, group in groupby(places, key=lambda at: id(frames[at].file)):
        here = list(group)
        read_direct(frames[here[0]].file, [(frames[at].index, stack[at]) for at in here])


def _decoded(
    frames: Sequence[Frame], without: AbstractSet[int] = frozenset()
) -> Iterator[tuple[int, NDArray[Any]]]:
    """Yield (place in `frames`, stored values), opening every file once and decoding every image once."""
    by_file: dict[int, dict[int, list[int]]] = {}
    for at, frame in enumerate(frames):
        if not frame.blank and at not in without:
            by_file.setdefault(id(frame.file), {}).setdefault(frame.index, []).append(at)
    wanted = [(frames[next(iter(places.values()))[0]].file, list(places)) for places in by_file.values()]
    slots = (at for places in by_file.values() for at in places.values())
    for places, stored in zip(slots, decode_files(wanted), strict=True):
        yield from ((at, _cut(stored, frames[at])) for at in places)


def _cut(stored: NDArray[Any], frame: Frame) -> NDArray[Any]:
    if frame.tile is None:
        return stored
    (row, column), (rows, columns) = frame.tile, frame.shape
    return stored[row : row + rows, column : column + columns]


def _rescaled(
    stack: NDArray[Any], lines: list[Line], padded: list[Padding | None], units: str
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

    def rescale(part: range) -> int:
        return sum(_rescale(stack[at], lines[at], padded[at], out[at], units, low) for at in part)

    return out, sum(by_parts(rescale, len(stack), stack.nbytes))


def _rescale(
    stored: NDArray[Any], line: Line, around: Padding | None, values: NDArray[Any], units: str, low: float
) -> int:
    """Write one frame's values; returns how many were padding."""
    mask = None if around is None else around.mask(stored)
    if mask is not None and around is not None and _as_tissue(around, line, units):
        mask = reaching_edge(mask)
    _apply_line(stored, line, values)
    if mask is None or around is None:
        return 0
    if around.lossy and units == "HU":
        mask |= values < HU_OF_PADDING
    values[mask] = HU_OF_PADDING if units == "HU" else low
    return int(mask.sum())


def _as_tissue(around: Padding, line: Line, units: str) -> bool:
    """Whether tissue has the value of the padding, too."""
    value = line.slope * around.low + line.intercept
    return units == "HU" and TISSUE_HU[0] < value < TISSUE_HU[1]


def _bounds(stack: NDArray[Any], lines: list[Line], padded: list[Padding | None]) -> tuple[float, float]:
    """Return the smallest and largest value after rescaling, padding left out."""

    def ends_of(part: range) -> list[float]:
        return [end for at in part for end in _ends(stack[at], lines[at], padded[at])]

    ends = [end for found in by_parts(ends_of, len(stack), stack.nbytes) for end in found]
    return (min(ends), max(ends)) if ends else (0.0, 0.0)


def _ends(stored: NDArray[Any], line: Line, around: Padding | None) -> list[float]:
    """The smallest and largest value of one frame, nothing where all of it is padding."""
    mask = None if around is None else around.mask(stored)
    real = stored if mask is None else stored[~mask]
    if real.dtype.kind == "f":
        real = real[np.isfinite(real)] if not np.isfinite(real).all() else real
    return [line.slope * end.item() + line.intercept for end in (real.min(), real.max())] if real.size else []


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


def _by_pieces(meaning: Meaning) -> bool:
    return len(meaning.pieces) > 1 or any(piece.table is not None for piece in meaning.pieces)


def _through_tables(
    frames: Sequence[Frame], meanings: Sequence[Meaning], stack: NDArray[Any]
) -> tuple[NDArray[Any], tuple[str, ...]]:
    if any(meaning.table for meaning in meanings):
        values = [_looked_up(frame, stored) for frame, stored in zip(frames, stack, strict=True)]
        return _narrowed(np.stack(values)), ()
    found = np.empty(stack.shape, np.float32)
    for out, stored, meaning in zip(found, stack, meanings, strict=True):
        out[:] = _mapped(stored, meaning)
    return found, ()


def _mapped(stored: NDArray[Any], meaning: Meaning) -> NDArray[np.float64]:
    """Apply a frame's real world mappings; what lies outside them is taken as their nearest end."""
    first, last = meaning.pieces[0].first, meaning.pieces[-1].last
    values = np.clip(stored.astype(np.float64), min(first, last), max(first, last))
    found = np.full(stored.shape, np.nan)
    for piece in meaning.pieces:
        inside = (values >= piece.first) & (values <= piece.last)
        if piece.table is not None:
            found[inside] = piece.table[(values[inside] - piece.first).astype(np.int64)]
        else:
            found[inside] = values[inside] * piece.line.slope + piece.line.intercept
    if np.isnan(found).any():
        raise ReadError("the Real World Value Mappings leave out some of the values between them")
    return found


def _outside(
    stack: NDArray[Any], meanings: Sequence[Meaning], padded: Sequence[Padding | None]
) -> tuple[str, ...]:
    count = 0
    for stored, meaning, around in zip(stack, meanings, padded, strict=True):
        first = min(piece.first for piece in meaning.pieces)
        last = max(piece.last for piece in meaning.pieces)
        out = (stored < first) | (stored > last)
        count += int((out if around is None else out & ~around.mask(stored)).sum())
    return (
        (f"{count} voxels lie outside the range that the Real World Value Mapping is for",) if count else ()
    )


def _without_padding(
    values: NDArray[Any], stack: NDArray[Any], padded: Sequence[Padding | None], units: str
) -> int:
    masks = [
        None if around is None else around.mask(stored) for stored, around in zip(stack, padded, strict=True)
    ]
    if all(mask is None for mask in masks):
        return 0
    lows = [
        float(out[~mask].min())
        for out, mask in zip(values, masks, strict=True)
        if mask is not None and not mask.all()
    ]
    low = HU_OF_PADDING if units == "HU" else min(lows, default=None)
    if low is None:
        return 0
    replaced = 0
    for out, mask in zip(values, masks, strict=True):
        if mask is not None:
            out[mask] = low
            replaced += int(mask.sum())
    return replaced


def _looked_up(frame: Frame, stored: NDArray[Any]) -> NDArray[Any]:
    """Apply the Modality LUT Sequence (PS3.3 C.11.1.1); an image in MONOCHROME1 is inverted in the table's own range."""
    file = frame.file
    sequence = file.value("ModalityLUTSequence")
    if sequence is None:
        raise ReadError("it has no modality table, and other slices have one")
    descriptor, data = tag_value(sequence[0], "LUTDescriptor"), tag_value(sequence[0], "LUTData")
    table = lut_entries(descriptor, data, big_endian=file.big_endian)
    if table is None:
        raise ReadError("the modality table (Modality LUT Sequence) is incomplete")
    count, bits = int(descriptor[0]) or 2**16, int(descriptor[2])
    first = int(descriptor[1])
    if file.integer("PixelRepresentation") == 1 and first >= 2**15:
        first -= 2**16
    if len(table) < count or not 1 <= bits <= 16:
        raise ReadError(f"the modality table claims {count} entries of {bits} bits and holds {len(table)}")
    values = table[np.clip(stored.astype(np.int64) - first, 0, count - 1)]
    return (2**bits - 1 - values) if inverted(frame, units_of(frame)[0]) else values


def _narrowed(values: NDArray[Any]) -> NDArray[Any]:
    fits = _INT16.min <= values.min() and values.max() <= _INT16.max
    return values.astype(np.int16 if fits else np.int32)

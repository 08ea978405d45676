"""What the readers of volume files (NIfTI, NRRD, MetaImage, NumPy) share: streams of known length, values, geometry."""

from __future__ import annotations

import gzip
import io
import posixpath
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import ReadError
from medmvl.imaging.geometry import Affine, axcodes_of, check_affine, orient_image, spacing_of, to_canonical
from medmvl.imaging.image import CANONICAL_VOLUME_AXES, MedicalImage
from medmvl.imaging.lengths import implausible_voxels
from medmvl.imaging.limits import check_expansion

_MAX_DEFLATE_RATIO = 1040
"""Deflate cannot compress better than 1032:1, so a larger claim is a cut or forged file."""
_CHUNK = 2**22
_NO_MEMBER = "Not a gzipped file"
"""What Python says of bytes after a member that was whole: gzip ignores them with a warning (RFC 1952 knows no such bytes)."""
NO_ORIGIN = "the header does not say where the first voxel lies: sides are known, and the place was taken as 0, as ITK does"
HEAD_BYTES = 1024
_MAX_PARTS = 100_000
_MAX_DIGITS = 64
"""Most bytes per number written as text, with what separates it from the next."""
_renamed: ContextVar[tuple[Mapping[Path, PurePosixPath], Mapping[str, str]]] = ContextVar(
    "renamed", default=({}, {})
)
_PATTERN = re.compile(r"((?:[^%]|%%)*)%(0?)(\d{0,2})[di]((?:[^%]|%%)*)")


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file, or of what a gzip file holds."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head[:2] != b"\x1f\x8b":
        return head
    try:
        return zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
    except zlib.error as error:
        raise ReadError("the gzip data is damaged") from error


def read_exactly(stream: io.BufferedIOBase | BinaryIO, size: int, skip: int = 0) -> bytearray:
    """Read `size` bytes after `skip`; never more, whatever a compressed stream would give.

    Raises:
        ReadError: where the stream ends early or its compression is damaged.
    """
    try:
        while skip > 0:
            passed = len(stream.read(min(skip, _CHUNK)))
            if not passed:
                raise ReadError("the file is cut short: it ends before the pixels begin")
            skip -= passed
        data = bytearray(size)
        view, filled = memoryview(data), 0
        while filled < size:
            got = cast(io.BufferedIOBase, stream).readinto(view[filled : filled + _CHUNK])
            if not got:
                raise ReadError(f"the file is cut short: {filled} of {size} bytes of pixels are there")
            filled += got
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError("the compressed pixels are damaged or cut short") from error
    return data


def finish_gzip(stream: gzip.GzipFile) -> list[str]:
    """Let gzip check its checksum after the last byte was read; return a note where something else follows."""
    try:
        stream.read(1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        if isinstance(error, gzip.BadGzipFile) and str(error).startswith(_NO_MEMBER):
            return [
                "the file has bytes after its compressed pixels that are no part of them: they were left out"
            ]
        raise ReadError("the compressed pixels are damaged: the checksum does not fit") from error
    return []


def check_stored(size: int, stored: int, compressed: bool) -> None:
    """Raise ReadError where `stored` bytes of a file cannot hold `size` bytes of pixels."""
    if size > (stored * _MAX_DEFLATE_RATIO if compressed else stored):
        raise ReadError(
            f"the header claims {size} bytes of pixels, but the file has only {stored} bytes: it is cut short"
        )
    if compressed:
        check_expansion(size, stored)


def surplus_notes(surplus: int, plane_bytes: int) -> list[str]:
    """A warning where a plane or more is stored beyond what the header counts: its sizes or number type may be wrong."""
    if surplus < plane_bytes:
        return []
    return [
        f"the file holds {surplus} bytes more than its header counts: sizes or number type may be wrong, or volumes left out"
    ]


def beside(header: Path, name: str) -> Path:
    """Return the pixel file a header names, which must lie in the header's own folder.

    Raises:
        ReadError: where it lies elsewhere or does not exist.
    """
    target = file_inside(header, name)
    if target is None:
        raise ReadError(
            "the header names a pixel file that is missing, or lies outside the header's folder: keep both in one folder or zip"
        )
    return target


@contextmanager
def renamed_from(former: Mapping[Path, PurePosixPath]) -> Iterator[None]:
    """Find, within this context, pixel files by the names that headers know them by.

    Args:
        former: names before, such as those within an archive, of files that were renamed, all of them in one folder.
    """
    token = _renamed.set((former, {str(name): file.name for file, name in former.items()}))
    try:
        yield
    finally:
        _renamed.reset(token)


def file_inside(header: Path, name: str) -> Path | None:
    """The file that a header names, where it exists and lies in the header's own folder."""
    former, current = _renamed.get()
    if header in former:
        found = current.get(posixpath.normpath(posixpath.join(former[header].parent, name)))
        return None if found is None else header.parent / found
    folder = header.parent.resolve()
    try:
        target = (folder / name).resolve()
        inside = target.is_relative_to(folder) and target.is_file()
        return header.parent / name if inside else None
    except (OSError, ValueError):
        return None


def numbered_names(pattern: str, first: int, last: int, step: int) -> list[str]:
    """Return the file names of a printf pattern with one number, such as `slice%03d.raw`, from `first` to `last`.

    Raises:
        ReadError: for a pattern that is not understood, a step of 0, or more than 100,000 files.
    """
    found = _PATTERN.fullmatch(pattern)
    if found is None or step == 0:
        raise ReadError(
            f"the pattern of file names {pattern[:60]!r} with first {first}, last {last} and step {step} is not "
            "understood; expected one number such as %03d and a step other than 0"
        )
    if not 1 <= (last - first) // step + 1 <= _MAX_PARTS:
        raise ReadError(
            f"the pattern of file names runs from {first} to {last} in steps of {step}: no set of files"
        )
    before, flag, width, after = found.groups()
    digits = f"{'0' if flag else ''}{width}d"
    numbers = range(first, last + (1 if step > 0 else -1), step)
    return [f"{before}{number:{digits}}{after}".replace("%%", "%") for number in numbers]


def text_numbers(file: BinaryIO, count: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Read `count` numbers that are written as text, separated by white space or commas.

    Raises:
        ReadError: where there are fewer or more, or a word is no number of this type.
    """
    text = file.read(count * _MAX_DIGITS + 1).replace(b",", b" ").decode("latin-1")
    integers = dtype.kind in "iu"
    exact = np.uint64 if dtype.str[1:] == "u8" else np.int64
    numbers = _parsed(text, exact) if integers else _parsed(text, np.float64)
    if numbers is None and integers:  # such as 4.0
        numbers = _parsed(text, np.float64)
    if numbers is None:
        raise ReadError("the pixels are text, but not all of it is numbers")
    if numbers.size != count:
        raise ReadError(f"the pixels are text with {numbers.size} numbers; the header claims {count}")
    if integers and not _fits(numbers, dtype):
        raise ReadError(f"the pixels are text, with numbers that are not of the type {dtype.name}")
    return numbers.astype(dtype.newbyteorder("="))


def _parsed(text: str, dtype: type[np.generic]) -> NDArray[Any] | None:
    try:
        return np.fromstring(text, dtype, sep=" ")
    except ValueError:
        return None


def _fits(numbers: NDArray[Any], dtype: np.dtype[Any]) -> bool:
    limits = np.iinfo(dtype)
    whole = numbers.dtype.kind in "iu" or bool((numbers == np.floor(numbers)).all())
    return whole and limits.min <= numbers.min() and numbers.max() <= limits.max


def plain_numbers(array: NDArray[Any]) -> tuple[NDArray[Any], list[str]]:
    """Return native-endian numbers without NaN: floats as float32, integers as stored.

    What is not finite takes the smallest finite value, with a warning.

    Raises:
        ReadError: for values that are not real numbers, or where none is finite.
    """
    if array.dtype.kind == "b":
        return array.astype(np.uint8), []
    if array.dtype.kind in "iu":
        return array.astype(array.dtype.newbyteorder("="), copy=False), []
    if array.dtype.kind != "f":
        raise ReadError(f"voxels are stored as {array.dtype}; expected real numbers")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    finite = np.isfinite(values)
    missing = int(values.size - np.count_nonzero(finite))
    if not missing:
        return values, []
    if missing == values.size:
        raise ReadError("no voxel has a finite value")
    lowest = values[finite].min()
    values[~finite] = lowest
    return values, [
        f"{missing} voxels are not finite (NaN or infinite); they were set to the smallest value, {lowest:g}"
    ]


def scaled(array: NDArray[Any], slope: float, intercept: float) -> NDArray[Any]:
    """Return `array * slope + intercept`: integers stay integers where slope and intercept are, else float32."""
    if slope == 1 and intercept == 0:
        return array
    if array.dtype.kind in "iu" and slope == 1 and float(intercept).is_integer() and abs(intercept) < 2**31:
        wide = array.astype(np.int64) + int(intercept)
        for small in (np.int16, np.int32):
            if np.iinfo(small).min <= wide.min() and wide.max() <= np.iinfo(small).max:
                return wide.astype(small)
        return wide
    result = np.empty(array.shape, np.float32)
    with np.errstate(over="ignore"):
        for index in range(len(array)):
            result[index] = array[index].astype(np.float64) * slope + intercept
    return result


def spatial_volume(
    array: NDArray[Any],
    affine: Affine | None,
    spacing_mm: tuple[float, ...] | None,
    *,
    source_format: str,
    notes: list[str],
    units: str = "arbitrary",
    modality: str | None = None,
    label_names: Mapping[int, str] | None = None,
) -> MedicalImage:
    """Build the volume a file describes, canonical where its orientation is known.

    Args:
        array: `(slices, rows, columns)` in the file's order.
        affine: from that order to RAS+ millimetres, or None where the file does not say.
        spacing_mm: used where there is no affine.
        source_format: name of the format.
        notes: warnings so far.
        units: what the file says.
        modality: what the file says.
        label_names: what the labels stand for, where the file says.
    """
    volume = partial(
        MedicalImage,
        kind="volume",
        units=units,
        modality=modality,
        source_format=source_format,
        label_names=label_names,
    )
    values, more = plain_numbers(array)
    notes = [*notes, *more]
    if units == "arbitrary" and modality is None and looks_like_hounsfield(values):
        notes.append(
            "the values look like Hounsfield units, but this format does not say so; "
            "declare units=HU (or modality=CT) to use CT windows"
        )
    notes += implausible_voxels(spacing_mm if affine is None else spacing_of(affine))
    if affine is None:
        notes.append("the orientation is unknown: the array keeps the file's order (slices, rows, columns)")
        known = spacing_mm if spacing_mm and all(np.isfinite(s) and s > 0 for s in spacing_mm) else None
        return volume(array=np.ascontiguousarray(values), spacing_mm=known, warnings=tuple(notes))
    check_affine(affine)
    canonical = to_canonical(values, affine)
    return volume(
        array=canonical.array,
        affine=canonical.affine,
        axcodes=CANONICAL_VOLUME_AXES,
        acquired_axcodes=canonical.acquired_axcodes,
        spacing_mm=spacing_of(canonical.affine),
        warnings=tuple(notes),
    )


def spatial_image(
    array: NDArray[Any],
    affine: Affine | None,
    spacing_mm: tuple[float, ...] | None,
    *,
    source_format: str,
    notes: list[str],
) -> MedicalImage:
    """Build the 2D colour image of one slice, turned the way a grey slice of the same file is.

    Args:
        array: `(slices, rows, columns, 3)` in the file's order, with at least one axis of length 1, which is left out.
        affine: from `(slices, rows, columns)` to RAS+ millimetres, or None where the file does not say.
        spacing_mm: used where there is no affine.
        source_format: name of the format.
        notes: warnings so far.
    """
    thin = next(axis for axis in range(3) if array.shape[axis] == 1)
    order = [thin, *(axis for axis in range(3) if axis != thin)]
    flat = np.ascontiguousarray(array.transpose([*order, 3])[0])
    if affine is None:
        notes = [*notes, "the orientation is unknown: the array keeps the file's order (rows, columns)"]
        known = spacing_mm if spacing_mm and all(np.isfinite(s) and s > 0 for s in spacing_mm) else None
        return MedicalImage(
            array=flat,
            kind="image",
            units="display",
            source_format=source_format,
            warnings=tuple(notes),
            spacing_mm=None if known is None else (known[order[1]], known[order[2]]),
        )
    check_affine(affine)
    placed = affine[:, [*order, 3]]
    codes = axcodes_of(placed)[1:]
    turned, matrix, shown = orient_image(flat, codes)
    placed = placed @ matrix
    return MedicalImage(
        array=turned,
        kind="image",
        units="display",
        source_format=source_format,
        affine=placed,
        axcodes=shown,
        acquired_axcodes=codes,
        spacing_mm=spacing_of(placed)[1:],
        warnings=tuple(notes),
    )


def looks_like_hounsfield(array: NDArray[Any]) -> bool:
    """Return whether values span air to soft tissue; a hint for a warning, never a decision."""
    return bool(array.size) and -5000 < float(array.min()) <= -900 and 200 <= float(array.max()) < 40000

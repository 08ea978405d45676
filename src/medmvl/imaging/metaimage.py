"""MetaImage: `.mha` (header and pixels in one file) and `.mhd` (pixels next to it), as ITK writes them.

Positions are LPS millimetres. Format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import AmbiguousSourceError, Choice, ReadError
from medmvl.imaging.geometry import OPPOSITE, Affine, axcodes_of, reverse_axes
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.lengths import millimetres_per
from medmvl.imaging.limits import check_size
from medmvl.imaging.selector import Selector, pick
from medmvl.imaging.volume_files import (
    NO_ORIGIN,
    beside,
    check_stored,
    numbered_names,
    read_exactly,
    spatial_volume,
    surplus_notes,
    text_numbers,
)

_START = re.compile(rb"\s*(ObjectType|NDims|Comment|ObjectSubType|Name)\s*=")
_MAX_HEADER_LINES, _MAX_LINE, _MAX_LIST_BYTES = 1000, 65536, 2**22
_THREE_AXES = {frozenset("LR"), frozenset("AP"), frozenset("SI")}
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_MODALITIES = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "MET_MOD_NM": "NM", "MET_MOD_US": "US"}


def sniff(head: bytes, path: Path) -> bool:
    """Return whether these are the first bytes of a MetaImage header."""
    return _START.match(head) is not None


def read_metaimage(path: Path, selector: Selector) -> MedicalImage:
    """Read one volume; of a 4D file the one that `#time=N` chooses.

    Raises:
        AmbiguousSourceError: for several time points.
        ReadError: where it is damaged, cut short, absurdly large, or names pixels outside its folder.
    """
    selector.refuse_others("time")
    fields, start = _read_header(path)
    try:
        return _build(path, fields, start, selector)
    except (KeyError, ValueError, IndexError, OverflowError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"the MetaImage header is damaged: {type(error).__name__} {error}") from error


def _read_header(path: Path) -> tuple[dict[str, str], int]:
    """Return the fields and where the pixels of an .mha begin; `ElementDataFile` ends the header."""
    fields: dict[str, str] = {}
    with path.open("rb") as file:
        for _ in range(_MAX_HEADER_LINES):
            line = file.readline(_MAX_LINE)
            key, found, value = line.decode("latin-1").partition("=")
            if not found:
                break
            fields[key.strip()] = value.strip()
            if key.strip() == "ElementDataFile":  # what follows is pixels, or the names of a LIST
                return fields, file.tell()
    raise ReadError("the MetaImage header is damaged or cut short: it has no ElementDataFile")


def pixel_files(path: Path) -> list[str]:
    """Names of the files that hold the pixels of a header; none where they follow it.

    Raises:
        ReadError: the header is damaged, or its list or pattern is not understood.
    """
    fields, start = _read_header(path)
    try:
        sizes = tuple(int(n) for n in fields["DimSize"].split())
        return pixel_names(path, fields, sizes, start) or []
    except (KeyError, ValueError, IndexError, OverflowError) as error:
        raise ReadError("the MetaImage header is damaged") from error


def _build(path: Path, fields: dict[str, str], start: int, selector: Selector) -> MedicalImage:
    sizes = [int(n) for n in fields["DimSize"].split()]
    if len(sizes) != int(fields["NDims"]) or not 2 <= len(sizes) <= 4:
        raise ReadError(f"the file has {fields['NDims']} dimensions; expected a volume")
    if int(fields.get("ElementNumberOfChannels", "1")) != 1:
        raise ReadError(
            "the file holds several numbers per voxel (colour or vectors); convert to one channel"
        )
    if fields["ElementType"] not in _TYPES:
        raise ReadError(f"voxels of type {fields['ElementType'][:40]} are not supported")
    most_significant_first = fields.get("ElementByteOrderMSB", fields.get("BinaryDataByteOrderMSB", "False"))
    dtype = np.dtype((">" if _true(most_significant_first) else "<") + _TYPES[fields["ElementType"]])
    flat, surplus = _load(path, fields, start, tuple(sizes), dtype)
    array = flat.reshape(sizes[::-1])
    plane = sizes[0] * sizes[1] * dtype.itemsize
    if len(sizes) == 2:
        array = array[None]
    if array.ndim == 4:
        array = array[_choose_time(selector, sizes[3])]
    elif selector.time is not None:
        pick(selector.time, 1, "time")
    affine, spacing, notes = _geometry(fields, len(sizes))
    modality = _MODALITIES.get(fields.get("Modality", ""))
    notes = [*notes, *_unused_scaling(fields), *surplus_notes(surplus, plane)]
    return spatial_volume(array, affine, spacing, source_format="metaimage", notes=notes, modality=modality)


def _true(value: str) -> bool:
    """Return whether a field says yes; MetaIO looks at the first letter only."""
    return value[:1] in ("T", "t", "1")


def _choose_time(selector: Selector, count: int) -> int:
    if selector.time is None and count > 1:
        raise AmbiguousSourceError(f"the file holds {count} time points", Choice("time", count))
    return pick(selector.time or 1, count, "time")


def _load(
    path: Path, fields: dict[str, str], start: int, sizes: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], int]:
    """Read all files the header names, each with its own `HeaderSize`, one after the other.

    Returns:
        the numbers, and how many bytes of uncompressed pixels lie beyond them.
    """
    size = check_size(sizes, dtype.itemsize)
    names = pixel_names(path, fields, sizes, start)
    if names is None:
        files, start = [path], start
    else:
        files, start = [beside(path, name) for name in names], int(fields.get("HeaderSize", "0"))
    if not files or size % (len(files) * dtype.itemsize):
        raise ReadError(f"the header names {len(files)} files, over which its pixels cannot be spread evenly")
    share = size // len(files)
    parts = [_load_file(file, fields, start, share, dtype) for file in files]
    array = parts[0] if len(parts) == 1 else np.concatenate(parts)
    plain = _true(fields.get("BinaryData", "True")) and not _true(fields.get("CompressedData", "False"))
    surplus = sum(file.stat().st_size - start for file in files) - size if plain and start >= 0 else 0
    return array, surplus


def _load_file(
    path: Path, fields: dict[str, str], start: int, size: int, dtype: np.dtype[Any]
) -> NDArray[Any]:
    compressed = _true(fields.get("CompressedData", "False"))
    stored = path.stat().st_size
    with path.open("rb") as file:
        if not _true(fields.get("BinaryData", "True")):
            file.seek(max(start, 0))
            return text_numbers(file, size // dtype.itemsize, dtype)
        if start < 0 and compressed:
            raise ReadError(
                "HeaderSize -1 means the end of the file, which has no meaning for compressed pixels"
            )
        start = stored - size if start < 0 else start
        check_stored(size, stored - start, compressed)
        file.seek(max(start, 0))
        return np.frombuffer(_inflate(file.read(), size) if compressed else read_exactly(file, size), dtype)


def _inflate(data: bytes, size: int) -> bytes:
    try:
        pixels = zlib.decompressobj(wbits=47).decompress(data, size)  # 47: zlib or gzip, whichever it is
    except zlib.error as error:
        raise ReadError("the compressed pixels are damaged or cut short") from error
    if len(pixels) != size:
        raise ReadError(f"the file is cut short: {len(pixels)} of {size} bytes of pixels are there")
    return pixels


def pixel_names(path: Path, fields: dict[str, str], sizes: tuple[int, ...], start: int) -> list[str] | None:
    """Return the names of the files with the pixels, in order, or None where they follow the header.

    Args:
        path: the header.
        fields: fields of the header.
        sizes: `DimSize`, fastest axis first.
        start: where the header ends; a `LIST` is the lines from there on.

    Raises:
        ReadError: for a list or pattern that is not understood.
    """
    said = fields["ElementDataFile"]
    if said.upper() == "LOCAL":
        return None
    if said.split()[:1] == ["LIST"]:
        with path.open("rb") as file:
            file.seek(start)
            lines = file.read(_MAX_LIST_BYTES).decode("latin-1").splitlines()
        return [line.strip() for line in lines if line.strip()]
    if "%" in said and not (path.parent / said).is_file():
        return _pattern_names(said, sizes[-1])
    return [said]


def _pattern_names(said: str, count: int) -> list[str]:
    """Names of `slice%03d.raw 1 20 1`: first, last and step; without them 1, as many as there are slices, and 1."""
    pattern, *numbers = said.split()
    first = int(numbers[0]) if numbers else 1
    last = int(numbers[1]) if len(numbers) > 1 else first + count - 1
    step = int(numbers[2]) if len(numbers) > 2 else 1
    return numbered_names(pattern, first, last, step)


def _geometry(
    fields: dict[str, str], num_axes: int
) -> tuple[Affine | None, tuple[float, ...] | None, list[str]]:
    """Return the affine of the (slices, rows, columns) order where it is said, the spacing, and notes."""
    steps = _numbers(fields, ("ElementSpacing", "ElementSize"))
    unit = fields.get("DistanceUnits", "")
    scale = millimetres_per(unit, "DistanceUnits")
    notes = [] if scale == 1 else [_unit_note(unit)]
    steps = None if steps is None else [step * scale for step in steps]
    spacing = (
        None if steps is None else tuple(reversed(steps[:3])) if len(steps) >= 3 else (1.0, *reversed(steps))
    )
    directions = _numbers(fields, ("TransformMatrix", "Orientation", "Rotation"))
    if num_axes < 3 or directions is None or steps is None:
        return None, spacing, notes
    origin = _numbers(fields, ("Offset", "Position", "Origin"))
    if origin is None:
        origin, notes = [0.0] * 3, [*notes, NO_ORIGIN]
    axes = np.array(directions).reshape(num_axes, num_axes)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = axes.T * steps[:3]
    affine[:3, 3] = np.array(origin[:3]) * scale
    affine = reverse_axes(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
    return affine, spacing, [*notes, *_other_sides(fields, affine)]


def _unused_scaling(fields: dict[str, str]) -> list[str]:
    """Warn of a slope and offset, which no reader applies, ITK included."""
    slope = float(fields.get("ElementToIntensityFunctionSlope", "1"))
    offset = float(fields.get("ElementToIntensityFunctionOffset", "0"))
    if (slope, offset) == (1.0, 0.0):
        return []
    return [
        f"the header has ElementToIntensityFunctionSlope {slope:g} and Offset {offset:g}: they were not applied, as ITK does "
        "not; the values are as stored"
    ]


def _unit_note(unit: str) -> str:
    return f"DistanceUnits says {unit}: spacing and position were converted to millimetres; ITK takes the numbers as they are"


def _other_sides(fields: dict[str, str], affine: Affine) -> list[str]:
    """Return a warning where AnatomicalOrientation, which names the side each axis comes from, says other sides."""
    said = fields.get("AnatomicalOrientation", "").upper()
    if len(said) != 3 or {frozenset((code, OPPOSITE.get(code, ""))) for code in said} != _THREE_AXES:
        return []
    found = "".join(OPPOSITE[code] for code in reversed(axcodes_of(affine)))
    if found == said:
        return []
    return [
        f"AnatomicalOrientation {said} and TransformMatrix ({found}) disagree about sides: TransformMatrix was taken, as ITK "
        "does; compare left and right with the source"
    ]


def _numbers(fields: dict[str, str], names: tuple[str, ...]) -> list[float] | None:
    for name in names:
        if name in fields:
            return [float(number) for number in fields[name].split()]
    return None

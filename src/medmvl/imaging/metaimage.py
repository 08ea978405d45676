"""MetaImage: `.mha` (header and pixels in one file) and `.mhd` (pixels beside it), as ITK writes them.

Positions are LPS millimetres. Format: https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import AmbiguousSourceError, ReadError
from medmvl.imaging.geometry import Affine, reverse_axes
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.limits import check_size
from medmvl.imaging.selector import Selector, pick
from medmvl.imaging.volume_files import beside, check_stored, read_exactly, spatial_volume

_START = re.compile(rb"\s*(ObjectType|NDims|Comment|ObjectSubType|Name)\s*=")
_MAX_HEADER_LINES, _MAX_LINE = 1000, 65536
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4", "MET_UINT": "u4",
    "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_MODALITIES = {"MET_MOD_CT": "CT", "MET_MOD_MR": "MR", "MET_MOD_NM": "NM", "MET_MOD_US": "US"}


def sniff(head: bytes, path: Path) -> bool:
    """Tell whether these are the first bytes of a MetaImage header."""
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
            if key.strip() == "ElementDataFile":
                return fields, file.tell()
    raise ReadError("the MetaImage header is damaged or cut short: it has no ElementDataFile")


def _build(path: Path, fields: dict[str, str], start: int, selector: Selector) -> MedicalImage:
    sizes = [int(n) for n in fields["DimSize"].split()]
    if len(sizes) != int(fields["NDims"]) or not 2 <= len(sizes) <= 4:
        raise ReadError(f"the file has {fields['NDims']} dimensions; expected a volume")
    if int(fields.get("ElementNumberOfChannels", "1")) != 1:
        raise ReadError("the file holds several numbers a voxel (colour or vectors); convert to one channel")
    if fields["ElementType"] not in _TYPES:
        raise ReadError(f"voxels of type {fields['ElementType'][:40]} are not supported")
    msb = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False")).lower() in (
        "true",
        "1",
    )
    dtype = np.dtype((">" if msb else "<") + _TYPES[fields["ElementType"]])
    array = _load(path, fields, start, tuple(sizes), dtype).reshape(sizes[::-1])
    if len(sizes) == 2:
        array = array[None]
    if array.ndim == 4:
        array = array[_choose_time(selector, sizes[3])]
    elif selector.time is not None:
        pick(selector.time, 1, "time")
    affine, spacing = _geometry(fields, len(sizes))
    modality = _MODALITIES.get(fields.get("Modality", ""))
    return spatial_volume(array, affine, spacing, source_format="metaimage", notes=[], modality=modality)


def _choose_time(selector: Selector, count: int) -> int:
    if selector.time is None and count > 1:
        raise AmbiguousSourceError(
            f"the file holds {count} time points; choose one with #time=1 ... #time={count}"
        )
    return pick(selector.time or 1, count, "time")


def _load(
    path: Path, fields: dict[str, str], start: int, sizes: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any]:
    name = fields["ElementDataFile"]
    if name.upper() != "LOCAL":
        if name.startswith("LIST") or "%" in name:
            raise ReadError(
                "the pixels are spread over a list of files, which is not supported; save one .mha"
            )
        path, start = beside(path, name), int(fields.get("HeaderSize", "0"))
    size, stored = check_size(sizes, dtype.itemsize), path.stat().st_size
    compressed = fields.get("CompressedData", "False").lower() in ("true", "1")
    if start < 0:
        start = stored - size
    check_stored(size, stored - start, compressed)
    with path.open("rb") as file:
        file.seek(max(start, 0))
        data = _inflate(file.read(), size) if compressed else read_exactly(file, size)
    return np.frombuffer(data, dtype)


def _inflate(data: bytes, size: int) -> bytes:
    try:
        pixels = zlib.decompressobj(wbits=47).decompress(data, size)  # 47: zlib or gzip, whichever it is
    except zlib.error as error:
        raise ReadError("the compressed pixels are damaged or cut short") from error
    if len(pixels) != size:
        raise ReadError(f"the file is cut short: {len(pixels)} of {size} bytes of pixels are there")
    return pixels


def _geometry(fields: dict[str, str], num_axes: int) -> tuple[Affine | None, tuple[float, ...] | None]:
    """Return the affine of the (slices, rows, columns) order, where position and directions are said, and the spacing."""
    steps = _numbers(fields, ("ElementSpacing", "ElementSize"))
    spacing = (
        None if steps is None else tuple(reversed(steps[:3])) if len(steps) >= 3 else (1.0, *reversed(steps))
    )
    directions = _numbers(fields, ("TransformMatrix", "Orientation", "Rotation"))
    origin = _numbers(fields, ("Offset", "Position", "Origin"))
    if num_axes < 3 or directions is None or origin is None or steps is None:
        return None, spacing
    axes = np.array(directions).reshape(num_axes, num_axes)[:3, :3]
    affine = np.eye(4)
    affine[:3, :3] = axes.T * steps[:3]
    affine[:3, 3] = origin[:3]
    return reverse_axes(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine), spacing


def _numbers(fields: dict[str, str], names: tuple[str, ...]) -> list[float] | None:
    for name in names:
        if name in fields:
            return [float(number) for number in fields[name].split()]
    return None

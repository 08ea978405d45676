"""NRRD: `.nrrd`, or `.nhdr` with its pixels beside it. The header is parsed by pynrrd, the pixels are read within bounds here.

Format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any, BinaryIO

import nrrd
import numpy as np
from numpy.typing import NDArray

from medmvl.errors import AmbiguousSourceError, ReadError
from medmvl.imaging.geometry import Affine
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.limits import check_size
from medmvl.imaging.selector import Selector, pick
from medmvl.imaging.volume_files import beside, check_stored, finish_gzip, read_exactly, spatial_volume

_SPACES = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"), "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"), "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",), "f8": ("double",),
}  # fmt: skip
_DAMAGE = (
    nrrd.NRRDError,
    ValueError,
    KeyError,
    IndexError,
    TypeError,
    OverflowError,
    AttributeError,
    AssertionError,
)


def sniff(head: bytes, path: Path) -> bool:
    """Tell whether these are the first bytes of an NRRD header."""
    return head.startswith(b"NRRD00")


def read_nrrd(path: Path, selector: Selector) -> MedicalImage:
    """Read one volume; of several along a list or time axis the one that `#time=N` chooses.

    Raises:
        AmbiguousSourceError: for several time points.
        ReadError: where it is damaged, cut short, absurdly large, coloured, or names pixels outside its
            folder.
    """
    selector.refuse_others("time")
    try:
        with path.open("rb") as file:
            header = nrrd.read_header(file)
            array = _load(path, header, file)
            return _build(array, header, selector)
    except ReadError:
        raise
    except _DAMAGE as error:
        raise ReadError(f"the NRRD header is damaged: {type(error).__name__} {str(error)[:200]}") from error


def _load(path: Path, header: dict[str, Any], file: BinaryIO) -> NDArray[Any]:
    """Return the array with the slowest axis first."""
    sizes = [int(n) for n in header["sizes"]]
    if len(sizes) != header["dimension"]:
        raise ReadError("the header's sizes do not fit its dimension")
    dtype = _dtype(header)
    size = check_size(sizes, dtype.itemsize)
    name = header.get("data file", header.get("datafile"))
    if name is None:
        return _decode(file, header, size, dtype, path.stat().st_size).reshape(sizes[::-1])
    if name.startswith("LIST") or "%" in name:
        raise ReadError("the pixels are spread over several files, which is not supported; save one .nrrd")
    target = beside(path, name)
    with target.open("rb") as pixels:
        return _decode(pixels, header, size, dtype, target.stat().st_size).reshape(sizes[::-1])


def _dtype(header: dict[str, Any]) -> np.dtype[Any]:
    code = next((code for code, names in _TYPES.items() if header["type"].strip().lower() in names), None)
    if code is None:
        raise ReadError(f"voxels of type {header['type'][:40]!r} are not supported")
    return np.dtype((">" if header.get("endian", "little") == "big" else "<") + code)


def _decode(
    file: BinaryIO, header: dict[str, Any], size: int, dtype: np.dtype[Any], stored: int
) -> NDArray[Any]:
    encoding = header["encoding"].lower()
    for _ in range(min(int(header.get("line skip", header.get("lineskip", 0))), 10000)):
        file.readline()
    skip = int(header.get("byte skip", header.get("byteskip", 0)))
    if encoding == "raw":
        check_stored(size, stored, compressed=False)
        if skip == -1:
            file.seek(stored - size)
        return np.frombuffer(read_exactly(file, size, max(skip, 0)), dtype)
    if encoding in ("gzip", "gz"):
        check_stored(size, stored, compressed=True)
        stream = gzip.GzipFile(fileobj=file)
        data = read_exactly(stream, size, max(skip, 0))
        finish_gzip(stream)
        return np.frombuffer(data, dtype)
    if encoding in ("bzip2", "bz2"):
        return _bzip2(file, size, max(skip, 0), dtype)
    if encoding in ("ascii", "text", "txt"):
        numbers = np.array(file.read().split(), dtype=np.float64)
        return numbers.astype(dtype) if numbers.size * dtype.itemsize == size else _cut_short()
    raise ReadError(f"the encoding {encoding[:40]!r} is not supported; expected raw, gzip, bzip2 or text")


def _bzip2(file: BinaryIO, size: int, skip: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        return np.frombuffer(read_exactly(bz2.BZ2File(file), size, skip), dtype)
    except OSError as error:
        raise ReadError("the compressed pixels are damaged or cut short") from error


def _cut_short() -> NDArray[Any]:
    raise ReadError("the number of values in the file does not fit its header")


def _build(array: NDArray[Any], header: dict[str, Any], selector: Selector) -> MedicalImage:
    directions = _directions(header, array.ndim)
    spatial = [axis for axis, step in enumerate(directions) if step is not None]
    if len(spatial) != 3 and array.ndim <= 3:
        spatial, directions = list(range(array.ndim)), [None] * array.ndim
    if len(spatial) not in (2, 3):
        raise ReadError(f"the file has {len(spatial)} spatial axes of {array.ndim}; expected a volume")
    others = [axis for axis in range(array.ndim) if axis not in spatial]  # file order, fastest first
    array = _choose(array, others, header, selector)
    array = array[None] if array.ndim == 2 else array
    affine = _affine(header, [directions[axis] for axis in spatial])
    spacing = _spacing(header, spatial)
    return spatial_volume(array, affine, spacing, source_format="nrrd", notes=[])


def _directions(header: dict[str, Any], num_axes: int) -> list[NDArray[np.float64] | None]:
    """Return each axis' step in space, file order; None for axes that are not spatial."""
    if "space directions" not in header:
        kinds = header.get("kinds", ["domain"] * num_axes)
        return [np.zeros(3) if kind in ("domain", "space", "???", "none") else None for kind in kinds]
    rows = header["space directions"]
    steps = [
        None if row is None or np.isnan(row).any() else np.asarray(row, dtype=np.float64) for row in rows
    ]
    if len(steps) != num_axes:
        raise ReadError("the header's space directions do not fit its dimension")
    return steps


def _choose(
    array: NDArray[Any], others: list[int], header: dict[str, Any], selector: Selector
) -> NDArray[Any]:
    """Pick the time point along the one axis that is not spatial."""
    kinds = header.get("kinds", [])
    counts = {axis: array.shape[array.ndim - 1 - axis] for axis in others}
    long_axes = [axis for axis, count in counts.items() if count > 1]
    for axis in long_axes:
        kind = str(kinds[axis]).lower() if axis < len(kinds) else "list"
        if len(long_axes) > 1 or kind not in ("list", "time", "none", "???", "domain"):
            raise ReadError(
                f"the file holds several numbers a voxel (an axis of kind {kind!r}); convert to one channel"
            )
        if selector.time is None:
            raise AmbiguousSourceError(
                f"the file holds {counts[axis]} volumes; choose one with #time=1 ... #time={counts[axis]}"
            )
    count = counts[long_axes[0]] if long_axes else 1
    chosen = pick(selector.time or 1, count, "time")
    for axis in sorted(
        others
    ):  # the fastest axis is the array's last: taking it leaves the slower ones in place
        taken = sum(1 for other in others if other < axis)
        array = array.take(chosen if axis in long_axes else 0, axis=array.ndim - 1 - (axis - taken))
    return array


def _affine(header: dict[str, Any], steps: list[NDArray[np.float64] | None]) -> Affine | None:
    """Return the affine of the (slices, rows, columns) order, or None where the space has no anatomical meaning."""
    signs = _SPACES.get(str(header.get("space", "")).lower().removesuffix("-time"))
    origin = header.get("space origin")
    if (
        signs is None
        or origin is None
        or len(steps) != 3
        or any(step is None or not step.any() for step in steps)
    ):
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.stack([np.asarray(step)[:3] for step in reversed(steps)], axis=1)
    affine[:3, 3] = np.asarray(origin, dtype=np.float64)[:3]
    return np.diag([*signs, 1.0]) @ affine


def _spacing(header: dict[str, Any], spatial: list[int]) -> tuple[float, ...] | None:
    if "space directions" in header:
        rows = header["space directions"]
        steps = [float(np.linalg.norm(rows[axis])) for axis in spatial if rows[axis] is not None]
    elif "spacings" in header:
        steps = [float(header["spacings"][axis]) for axis in spatial]
    else:
        return None
    return (*([1.0] * (3 - len(steps))), *reversed(steps)) if len(steps) in (2, 3) else None

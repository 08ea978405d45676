"""The pixels of NRRD: raw, gzip, bzip2 or hexadecimal, read within the bounds that the header sets."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import ReadError
from medmvl.imaging.limits import check_expansion, check_size
from medmvl.imaging.volume_files import (
    beside,
    check_stored,
    finish_gzip,
    read_exactly,
    text_numbers,
)

_TYPES = {
    "i1": ("signed char", "int8", "int8_t"), "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"), "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",), "f8": ("double",),
}  # fmt: skip

NrrdHeader = dict[str, Any]
"""Fields of a header by name, as pynrrd reads them."""
BINARY = ("raw", "gzip", "gz", "bzip2", "bz2", "hex")


def load_pixels(path: Path, header: NrrdHeader, names: list[str] | None, file: BinaryIO) -> NDArray[Any]:
    """Return the array with the slowest axis first; several files hold it one after the other."""
    sizes = [int(n) for n in header["sizes"]]
    if len(sizes) != header["dimension"]:
        raise ReadError("the header's sizes do not fit its dimension")
    dtype = dtype_of(header)
    size = check_size(sizes, dtype.itemsize)
    if names is None:
        return _decode(file, header, size, dtype, path.stat().st_size).reshape(sizes[::-1])
    if not names or size % (len(names) * dtype.itemsize):
        raise ReadError(f"the header names {len(names)} files, over which its pixels cannot be spread evenly")
    parts = []
    for name in names:
        target = beside(path, name)
        with target.open("rb") as pixels:
            parts.append(_decode(pixels, header, size // len(names), dtype, target.stat().st_size))
    return np.concatenate(parts).reshape(sizes[::-1])


def dtype_of(header: NrrdHeader) -> np.dtype[Any]:
    """The number type that the header names."""
    code = next((code for code, names in _TYPES.items() if header["type"].strip().lower() in names), None)
    if code is None:
        raise ReadError(f"voxels of type {header['type'][:40]!r} are not supported")
    return np.dtype((">" if header.get("endian", "little") == "big" else "<") + code)


def _decode(file: BinaryIO, header: NrrdHeader, size: int, dtype: np.dtype[Any], stored: int) -> NDArray[Any]:
    encoding = header["encoding"].lower()
    skip = int(header.get("byte skip", 0))
    if skip < 0 and (skip != -1 or encoding != "raw"):
        raise ReadError(
            f"byte skip {skip} with {encoding[:20]} pixels has no meaning; expected 0 or more, or -1 with raw"
        )
    for _ in range(int(header.get("line skip", 0))):
        if not file.readline():
            raise ReadError("the file is cut short: it has fewer lines than the header says to skip")
    if encoding == "raw":
        check_stored(size, stored, compressed=False)
        if skip == -1:
            file.seek(stored - size)
        return np.frombuffer(read_exactly(file, size, max(skip, 0)), dtype)
    if encoding in ("gzip", "gz"):
        check_stored(size, stored, compressed=True)
        stream = gzip.GzipFile(fileobj=file)
        data = read_exactly(stream, size, skip)
        finish_gzip(stream)
        return np.frombuffer(data, dtype)
    if encoding in ("bzip2", "bz2"):
        check_expansion(size, stored)
        return _bzip2(file, size, skip, dtype)
    file.seek(skip, 1)
    if encoding in ("ascii", "text", "txt"):
        return text_numbers(file, size // dtype.itemsize, dtype)
    if encoding == "hex":
        return _hexadecimal(file, size, dtype)
    raise ReadError(
        f"the encoding {encoding[:40]!r} is not supported; expected raw, gzip, bzip2, hex or text"
    )


def _hexadecimal(file: BinaryIO, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    digits = b"".join(file.read(3 * size + 1024).split())
    if len(digits) != 2 * size:
        raise ReadError(
            f"the file holds {len(digits) // 2} bytes as hexadecimal text; the header claims {size}"
        )
    return np.frombuffer(bytes.fromhex(digits.decode("latin-1")), dtype)


def _bzip2(file: BinaryIO, size: int, skip: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    try:
        return np.frombuffer(read_exactly(bz2.BZ2File(file), size, skip), dtype)
    except OSError as error:
        raise ReadError("the compressed pixels are damaged or cut short") from error

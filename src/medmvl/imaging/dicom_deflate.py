"""Deflated image frames: each frame deflated by itself (PS3.5 A.4.11, transfer syntax 1.2.840.10008.1.2.8.1)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.encaps import generate_frames

from medmvl.errors import ReadError
from medmvl.imaging.dicom_header import DicomFile
from medmvl.imaging.dicom_values import PARSER_ERRORS

DEFLATED_IMAGE_FRAME = "1.2.840.10008.1.2.8.1"


def deflated_frames(file: DicomFile, indices: Sequence[int], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Yield the stored values of frames, `(rows, columns)` or `(rows, columns, samples)`.

    Raises:
        ReadError: a frame is damaged or not of the size that the header says.
    """
    with file.open_pixels() as stream:
        data = stream.read()
    try:
        encoded = list(generate_frames(data, number_of_frames=file.integer("NumberOfFrames", 1) or 1))
        for index in indices:
            yield _inflated(encoded[index], file, dtype)
    except ReadError:
        raise
    except PARSER_ERRORS:
        raise ReadError("the deflated frames are damaged or cut off") from None


def _inflated(encoded: bytes, file: DicomFile, dtype: np.dtype[Any]) -> NDArray[Any]:
    rows, columns, samples = file.integer("Rows"), file.integer("Columns"), file.integer("SamplesPerPixel", 1)
    single_bits = file.integer("BitsAllocated") == 1
    count = rows * columns * samples
    size = (count + 7) // 8 if single_bits else count * dtype.itemsize
    raw = zlib.decompressobj(-zlib.MAX_WBITS).decompress(encoded, size + 2)
    if not size <= len(raw) <= size + 1:
        raise ReadError("a deflated frame is not of the size that the header says")
    if single_bits:
        return np.unpackbits(np.frombuffer(raw[:size], np.uint8), bitorder="little")[:count].reshape(
            rows, columns
        )
    values = np.frombuffer(raw[:size], dtype.newbyteorder("<")).astype(dtype, copy=False)
    if samples == 1:
        return values.reshape(rows, columns)
    if file.integer("PlanarConfiguration") == 1:
        return values.reshape(samples, rows, columns).transpose(1, 2, 0)
    return values.reshape(rows, columns, samples)

"""Decoding: the stored values of one frame, from every transfer syntax that the installed codecs know.

Uncompressed pixels are read straight into NumPy; everything else goes through pydicom's plugins. Before a codec runs,
the size that its stream claims is compared with the header's, so that no stream can exhaust memory.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pydicom.pixels
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames

from medmvl.errors import MissingExtraError, ReadError
from medmvl.imaging.dicom_header import PARSER_ERRORS, DicomFile, silent_pydicom

_JPEG_SIZES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF, 0xF7}


def stored_dtype(file: DicomFile) -> np.dtype[Any]:
    """Return the type of a file's stored values, in this machine's byte order."""
    if file.pixel_keyword == "FloatPixelData":
        return np.dtype(np.float32)
    if file.pixel_keyword == "DoubleFloatPixelData":
        return np.dtype(np.float64)
    kind = "i" if file.integer("PixelRepresentation") == 1 and file.integer("BitsAllocated") > 1 else "u"
    return np.dtype(f"{kind}{max(1, file.integer('BitsAllocated') // 8)}")


def decode_frames(file: DicomFile, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Yield the stored values of the frames asked for: `(rows, columns)`, or `(rows, columns, samples)` as RGB.

    Raises:
        ReadError: the pixels are damaged, or no installed codec knows them.
        MissingExtraError: the codec is part of an extra that is not installed.
    """
    if _is_plain(file):
        yield from _plain_frames(file, indices)
        return
    with silent_pydicom():
        try:
            yield from _pydicom_frames(file, indices)
        except PARSER_ERRORS as error:
            if isinstance(error, (ReadError, MissingExtraError)):
                raise
            raise ReadError(_decode_failure(file)) from None
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # a codec written in Rust, on damaged bytes
                raise
            raise ReadError(_decode_failure(file)) from None


def _is_plain(file: DicomFile) -> bool:
    if file.encapsulated or file.integer("SamplesPerPixel", 1) > 1:
        return False
    bits, palette = file.integer("BitsAllocated"), file.value("PhotometricInterpretation") == "PALETTE COLOR"
    return bits >= 8 and not palette and not (file.big_endian and bits == 8)


def _plain_frames(file: DicomFile, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    rows, columns = file.integer("Rows"), file.integer("Columns")
    dtype = stored_dtype(file)
    size = rows * columns * dtype.itemsize
    with file.open_pixels() as stream:
        start = stream.tell()
        for index in indices:
            stream.seek(start + index * size)
            data = stream.read(size)
            if len(data) != size:
                raise ReadError("the file is cut off within its pixels")
            found = np.frombuffer(data, dtype.newbyteorder(">" if file.big_endian else "<")).reshape(
                rows, columns
            )
            yield _without_unused_bits(found.astype(dtype, copy=False), file)


def _without_unused_bits(array: NDArray[Any], file: DicomFile) -> NDArray[Any]:
    """Clear bits outside BitsStored (old overlays) and extend the sign from the highest stored bit."""
    allocated = file.integer("BitsAllocated")
    stored = file.integer("BitsStored", allocated)
    high = file.integer("HighBit", stored - 1)
    if array.dtype.kind == "f" or not 0 < stored <= high + 1 <= allocated:
        return array
    if stored == allocated:
        return array
    cleared: NDArray[Any] = np.right_shift(np.left_shift(array, allocated - 1 - high), allocated - stored)
    return cleared


def _pydicom_frames(file: DicomFile, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    dataset = _with_pixels(file)
    if file.encapsulated:
        _check_streams(file, dataset)
    if file.syntax == uid.JPEGExtended12Bit and file.integer("BitsStored") > 8:
        yield from _twelve_bit_frames(file, indices)
        return
    decoder = pydicom.pixels.get_decoder(file.syntax)
    for array, about in decoder.iter_array(dataset, indices=list(indices)):
        if about["photometric_interpretation"] == "PALETTE COLOR":
            array = pydicom.pixels.apply_color_lut(array, dataset)[..., :3]
            yield (array >> 8).astype(np.uint8) if array.dtype.itemsize > 1 else array
        else:
            yield array


def _with_pixels(file: DicomFile) -> Dataset:
    dataset = Dataset()
    dataset.update(file.header)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = file.syntax
    dataset.set_original_encoding(file.syntax == uid.ImplicitVRLittleEndian, not file.big_endian)
    with file.open_pixels() as stream:
        data = stream.read(-1 if file.encapsulated else file.pixel_length)
    element = DataElement(file.pixel_keyword or "", "OB" if file.encapsulated else file.pixel_vr, data)
    element.is_undefined_length = file.encapsulated
    dataset.add(element)
    return dataset


def _check_streams(file: DicomFile, dataset: Dataset) -> None:
    rows, columns, count = (
        file.integer("Rows"),
        file.integer("Columns"),
        file.integer("NumberOfFrames", 1) or 1,
    )
    for encoded in generate_frames(dataset.PixelData, number_of_frames=count):
        size = stream_size(encoded)
        if size is not None and size != (rows, columns):
            found, said = " x ".join(map(str, size)), f"{rows} x {columns}"
            raise ReadError(f"the compressed pixels are {found}, the header says {said} (rows x columns)")


def stream_size(encoded: bytes) -> tuple[int, int] | None:
    """Return rows and columns that a JPEG, JPEG-LS or JPEG 2000 stream claims, or None for what it is not."""
    if encoded[:4] == b"\xff\x4f\xff\x51" and len(encoded) >= 24:
        right, bottom, left, top = struct.unpack(">4I", encoded[8:24])
        return bottom - top, right - left
    at = 2
    while encoded[:2] == b"\xff\xd8" and at + 9 <= len(encoded):
        if encoded[at] != 0xFF:
            return None
        if encoded[at + 1] in _JPEG_SIZES:
            rows, columns = struct.unpack(">HH", encoded[at + 5 : at + 9])
            return rows, columns
        padding = encoded[at + 1] == 0xFF
        at += 1 if padding else 2 + int.from_bytes(encoded[at + 2 : at + 4], "big")
    return None


def _twelve_bit_frames(file: DicomFile, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Decode JPEG Extended of more than 8 bits with GDCM itself; pydicom's plugins refuse it or get it wrong."""
    try:
        import gdcm
    except ImportError:
        raise MissingExtraError("12-bit JPEG Extended pixels need GDCM: pip install python-gdcm") from None
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    reader = gdcm.ImageReader()
    reader.SetFileName(str(file.path))
    if not reader.Read():
        raise ReadError(_decode_failure(file))
    data = reader.GetImage().GetBuffer().encode("utf-8", errors="surrogateescape")
    stored = np.frombuffer(data, stored_dtype(file)).reshape(
        -1, file.integer("Rows"), file.integer("Columns")
    )
    for index in indices:
        yield stored[index]


def _decode_failure(file: DicomFile) -> str:
    if file.syntax not in uid.AllTransferSyntaxes:
        return "the pixels are in a transfer syntax that no installed codec knows: convert the file first"
    return f"the pixels ({file.syntax.name}) are damaged or cut off, or no installed codec can decode them"

"""Decoding: the stored values of one frame, from every transfer syntax that the installed codecs know.

Uncompressed pixels are read straight into NumPy. Compressed ones are decoded by pydicom's plugins in processes of their own
(decode_pool): on damaged bytes a codec may crash, or print warnings that quote the file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pydicom.pixels
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from medmvl.errors import MissingExtraError, ReadError, UserError
from medmvl.imaging.decode_pool import shared_pool
from medmvl.imaging.decode_process import BATCH_BYTES, Decoded, Failure, Request
from medmvl.imaging.dicom_deflate import DEFLATED_IMAGE_FRAME, deflated_frames
from medmvl.imaging.dicom_header import DicomFile
from medmvl.imaging.dicom_photometric import COLOUR
from medmvl.imaging.dicom_tags import OVERLAY_BIT, SEGMENTATIONS
from medmvl.imaging.dicom_values import PARSER_ERRORS
from medmvl.imaging.silence import silent_libraries

Wanted = tuple[DicomFile, Sequence[int]]
"""A file and the frames of it that are asked for, counted from 0."""
_OPTIONS = {
    "rows": "Rows", "columns": "Columns", "samples_per_pixel": "SamplesPerPixel", "bits_allocated": "BitsAllocated",
    "bits_stored": "BitsStored", "pixel_representation": "PixelRepresentation", "planar_configuration": "PlanarConfiguration",
}  # fmt: skip


_MOST_OF_8_BITS = 255
_JPEG_2000 = (uid.JPEG2000, uid.JPEG2000Lossless, uid.HTJ2K, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL)
_HEAD, _COMPONENT = 65536, 42
"""Bytes in which the codestream begins, and where in it the precision and sign of the first component lie (T.800, A.5.1)."""


class PixelError(ReadError):
    """The pixels of one file cannot be decoded; `file` says which it was, as the message does not."""

    file: Path | None = None


def stored_dtype(file: DicomFile) -> np.dtype[Any]:
    """Return the type of a file's stored values, in this machine's byte order."""
    if file.pixel_keyword == "FloatPixelData":
        return np.dtype(np.float32)
    if file.pixel_keyword == "DoubleFloatPixelData":
        return np.dtype(np.float64)
    sign = "i" if file.integer("PixelRepresentation") == 1 and file.integer("BitsAllocated") > 1 else "u"
    return np.dtype(f"{sign}{max(1, file.integer('BitsAllocated') // 8)}")


def decode_files(wanted: Iterable[Wanted]) -> Iterator[NDArray[Any]]:
    """Yield the frames of several files, in order; compressed ones are decoded a few ahead, by several processes.

    Raises:
        PixelError: the pixels of a file are damaged, or no installed codec knows them.
        UserError: no process can be started to decode them.
    """
    for compressed, group in groupby(wanted, key=lambda one: _needs_codec(one[0])):
        if compressed:
            yield from _compressed_frames(list(group))
            continue
        for file, indices in group:
            with _naming(file):
                yield from _own_frames(file, indices)


def _needs_codec(file: DicomFile) -> bool:
    """Whether the pixels need a codec, which may crash its process."""
    return file.encapsulated and file.syntax != DEFLATED_IMAGE_FRAME


def _own_frames(file: DicomFile, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    if file.syntax == DEFLATED_IMAGE_FRAME:
        for one in deflated_frames(file, indices, stored_dtype(file)):
            yield _without_unused_bits(one, file) if one.ndim == 2 else one
        return
    yield from _plain_frames(file, indices) if _is_plain(file) else _native_frames(file, indices)


@contextmanager
def _naming(file: DicomFile) -> Iterator[None]:
    """Turn what parsers and codecs raise about a file into a PixelError that knows the file."""
    try:
        with silent_libraries():
            yield
    except MissingExtraError:
        raise
    except PARSER_ERRORS as error:
        found = PixelError(str(error) if isinstance(error, UserError) else _decode_failure(file))
        found.file = file.path
        raise found from None


def _is_plain(file: DicomFile) -> bool:
    if file.integer("SamplesPerPixel", 1) > 1:
        return False
    bits, palette = file.integer("BitsAllocated"), file.value("PhotometricInterpretation") == "PALETTE COLOR"
    return bits >= 8 and not palette and not (file.big_endian and bits == 8)


def is_direct(file: DicomFile) -> bool:
    """Whether the bytes of the file's pixels are its values: `read_direct` can read them."""
    return not file.encapsulated and file.syntax != DEFLATED_IMAGE_FRAME and _is_plain(file)


def read_direct(file: DicomFile, frames: Iterable[tuple[int, NDArray[Any]]]) -> None:
    """Read frames, each into an array of `(rows, columns)` of the file's `stored_dtype`, which lies in one piece.

    Raises:
        PixelError: the file is cut off or cannot be read.
    """
    with _naming(file):
        for _ in _read_into(file, frames):
            pass


def _plain_frames(file: DicomFile, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    shape, dtype = (file.integer("Rows"), file.integer("Columns")), stored_dtype(file)
    yield from _read_into(file, ((index, np.empty(shape, dtype)) for index in indices))


def _read_into(file: DicomFile, frames: Iterable[tuple[int, NDArray[Any]]]) -> Iterator[NDArray[Any]]:
    """Read frames into their arrays, one after the other, and yield these."""
    with file.open_pixels() as stream:
        start = stream.tell()
        for index, out in frames:
            stream.seek(start + index * out.nbytes)
            if stream.readinto(out.data) != out.nbytes:  # type: ignore[attr-defined]
                raise ReadError("the file is cut off within its pixels")
            if file.big_endian == (sys.byteorder == "little"):
                out.byteswap(inplace=True)
            yield _without_unused_bits(out, file)


def _without_unused_bits(array: NDArray[Any], file: DicomFile) -> NDArray[Any]:
    """Clear bits outside BitsStored (old overlays), extend the sign from the highest; in place if the array may be written."""
    allocated = file.integer("BitsAllocated")
    stored = file.integer("BitsStored", allocated)
    high = file.integer("HighBit", stored - 1)
    if array.dtype.kind == "f" or not 0 < stored <= high + 1 <= allocated:
        return array
    if stored == allocated:
        return array
    if high == stored - 1 and array.size and OVERLAY_BIT not in file.header.keys():  # noqa: SIM118
        _notice_unused_bits(array, file, stored)
    array = array if array.flags.writeable else array.copy()
    if array.dtype.kind == "u" and high == stored - 1:
        np.bitwise_and(array, array.dtype.type(2**stored - 1), out=array)
        return array
    np.left_shift(array, allocated - 1 - high, out=array)
    np.right_shift(array, allocated - stored, out=array)
    return array


def _notice_unused_bits(array: NDArray[Any], file: DicomFile, stored: int) -> None:
    """Note values that need more than the stored bits; a sign that is extended, or not, is as it should be."""
    lowest = -(2 ** (stored - 1)) if array.dtype.kind == "i" else 0
    if array.max() >= 2**stored or array.min() < lowest:
        file.surprises.add(
            f"values need more than the {stored} bits of Bits Stored, and no overlay is said to lie in the others: these were "
            "cleared; if Bits Stored is wrong, large values are read as small ones"
        )


def _native_frames(file: DicomFile, indices: Sequence[int]) -> Iterator[NDArray[Any]]:
    """Colours, single bits and big-endian bytes that are not compressed: no codec is needed."""
    dataset = _with_pixels(file)
    decoder = pydicom.pixels.get_decoder(file.syntax)
    for array, about in decoder.iter_array(dataset, indices=list(indices)):
        yield _in_colour(file, array, about["photometric_interpretation"])


def _in_colour(file: DicomFile, array: NDArray[Any], photometric: str) -> NDArray[Any]:
    """Look palette colours up, as 8 bits."""
    if photometric != "PALETTE COLOR" or file.text("SOPClassUID") in SEGMENTATIONS:
        return array
    tables = (f"{colour}PaletteColorLookupTable" for colour in ("Red", "Green", "Blue"))
    for table in tables:
        if file.value(f"{table}Descriptor") is None or (
            file.value(f"{table}Data") is None and file.value(f"Segmented{table}Data") is None
        ):
            raise ReadError(f"the header has no {table}, so that its colours are not known")
    colours = pydicom.pixels.apply_color_lut(array, file.header)[..., :3]
    if colours.dtype.itemsize == 1:
        return np.asarray(colours)
    shift = 8 if _largest_colour(file) > _MOST_OF_8_BITS else 0
    return np.asarray(colours >> shift, dtype=np.uint8)


def _largest_colour(file: DicomFile) -> int:
    """Largest entry of the tables of 16 bits: some writers fill the low byte alone, whatever the descriptor says."""
    descriptor = file.value("RedPaletteColorLookupTableDescriptor")
    count, first = int(descriptor[0]) or 2**16, int(descriptor[1])
    places = np.arange(first, first + count).reshape(1, -1)
    return int(pydicom.pixels.apply_color_lut(places, file.header)[..., :3].max())


def _with_pixels(file: DicomFile) -> Dataset:
    dataset = Dataset()
    dataset.update(file.header)
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = file.syntax
    if "PlanarConfiguration" not in dataset:
        dataset.PlanarConfiguration = 0
    if (
        file.text("PhotometricInterpretation") not in (*COLOUR, "PALETTE COLOR")
        and file.integer("SamplesPerPixel", 1) > 1
    ):
        dataset.PhotometricInterpretation = "RGB"
    dataset.set_original_encoding(file.syntax == uid.ImplicitVRLittleEndian, not file.big_endian)
    with file.open_pixels() as stream:
        dataset.add(DataElement(file.pixel_keyword or "", file.pixel_vr, stream.read(file.pixel_length)))
    return dataset


def _compressed_frames(wanted: Sequence[Wanted]) -> Iterator[NDArray[Any]]:
    files: list[DicomFile] = []
    requests: list[Request] = []
    for file, indices in wanted:
        with _naming(file):
            parts = list(_requests(file, indices))
        requests += parts
        files += [file] * len(parts)
    for file, answer in zip(files, shared_pool().decode(requests), strict=True):
        with _naming(file):
            for array, photometric in _checked(file, answer):
                _refuse_hidden_signs(file, array)
                yield _in_colour(file, array, photometric)


def _requests(file: DicomFile, indices: Sequence[int]) -> Iterator[Request]:
    """Requests for the decoding process, a few megabytes of decoded pixels each."""
    if file.syntax not in uid.AllTransferSyntaxes:
        raise ReadError(_decode_failure(file))
    if not file.syntax.is_encapsulated:
        raise ReadError(
            f"the pixels are stored in fragments, which {file.syntax.name} does not know: damaged"
        )
    options = {name: file.value(keyword) for name, keyword in _OPTIONS.items()}
    options = {name: int(value) for name, value in options.items() if value is not None}
    options |= {"number_of_frames": 1, "pixel_keyword": "PixelData", "pixel_vr": "OB"}
    options["photometric_interpretation"] = str(file.value("PhotometricInterpretation") or "")
    itemsize = stored_dtype(file).itemsize
    frame_bytes = options["rows"] * options["columns"] * file.integer("SamplesPerPixel", 1) * itemsize
    message = {
        "path": str(file.path.absolute()), "offset": file.pixel_offset, "encoded_bytes": file.num_pixel_bytes,
        "syntax": str(file.syntax), "frames": file.integer("NumberOfFrames", 1) or 1, "frame_bytes": frame_bytes,
        "whole_file": file.syntax == uid.JPEGExtended12Bit and file.integer("BitsStored") > 8,
        "dtype": stored_dtype(file).str, "options": options,
    }  # fmt: skip
    step = max(1, BATCH_BYTES // frame_bytes)
    for start in range(0, len(indices), step):
        part = [int(index) for index in indices[start : start + step]]
        request = {**message, "indices": part, "spans": _spans(file, part)}
        yield Request(
            request, len(part) * 2 * frame_bytes
        )  # a codec may give 16 bits where the header says 8


def _spans(file: DicomFile, indices: Sequence[int]) -> list[tuple[int, int]] | None:
    """Return offset and length of each frame where the Extended Offset Table gives them."""
    offsets, lengths = file.value("ExtendedOffsetTable"), file.value("ExtendedOffsetTableLengths")
    if offsets is None or lengths is None or len(offsets) != len(lengths):
        return None
    starts, sizes = np.frombuffer(offsets, "<u8"), np.frombuffer(lengths, "<u8")
    return [(int(starts[index]), int(sizes[index])) for index in indices]


def _checked(file: DicomFile, answer: Decoded | Failure) -> Decoded:
    if not isinstance(answer, Failure):
        return answer
    said = " x ".join(map(str, (file.integer("Rows"), file.integer("Columns"))))
    found = " x ".join(map(str, answer.found))
    raise ReadError(
        {
            "damaged": _decode_failure(file),
            "no codec": _decode_failure(file),
            "other size": f"the compressed pixels are {found}, the header says {said} (rows x columns)",
            "other shape": "the decoded pixels do not have the size that the header says",
            "memory": "the compressed pixels need far more memory than their size explains: they are damaged",
            "ended": f"the pixels ({file.syntax.name}) are damaged: they ended the process that decoded them",
            "time": f"the pixels ({file.syntax.name}) are damaged: they cannot be decoded in a reasonable time",
        }[answer.reason]
    )


def _refuse_hidden_signs(file: DicomFile, array: NDArray[Any]) -> None:
    """Raise ReadError for negative JPEG 2000 pixels that the header calls unsigned: they would be read as large numbers."""
    if (
        file.syntax not in _JPEG_2000
        or array.dtype.kind != "u"
        or not array.size
        or file.integer("PixelRepresentation")
    ):
        return
    if array.max() < 2 ** (file.integer("BitsStored", file.integer("BitsAllocated")) - 1):
        return
    with file.open_pixels() as stream:
        head = stream.read(_HEAD)
    start = head.find(b"\xff\x4f\xff\x51")
    if start >= 0 and head[start + _COMPONENT : start + _COMPONENT + 1] >= b"\x80":
        raise ReadError(
            "the header says unsigned pixels (Pixel Representation 0), but the JPEG 2000 pixels are signed and some are "
            "negative: correct Pixel Representation"
        )


def _decode_failure(file: DicomFile) -> str:
    if file.syntax not in uid.AllTransferSyntaxes:
        return "the pixels are in a transfer syntax that no installed codec knows: convert the file first"
    return f"the pixels ({file.syntax.name}) are damaged or cut off, or no installed codec can decode them"

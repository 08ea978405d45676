"""Formats that are known but not read: refused by their name, with what to do instead of a guess about damage."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

from medmvl.errors import ReadError


class UnreadFormat(NamedTuple):
    """A format by the bytes at one place."""

    name: str
    at: int
    marks: tuple[bytes, ...]
    advice: str


_TO_NIFTI = "convert it to NIfTI or DICOM with the program it comes from"
UNREAD: tuple[UnreadFormat, ...] = (
    UnreadFormat("MINC 1 (netCDF)", 0, (b"CDF\x01", b"CDF\x02"), "convert it with mnc2nii of the MINC tools"),
    UnreadFormat("HDF5 (MINC 2, MATLAB 7.3, ...)", 0, (b"\x89HDF\r\n\x1a\n",), "convert MINC by mnc2nii; save arrays as .npy"),
    UnreadFormat("a MATLAB file", 0, (b"MATLAB 5.0", b"MATLAB 7"), "save its array as .npy or NIfTI"),
    UnreadFormat("GIF", 0, (b"GIF87a", b"GIF89a"), "save it as PNG"),
    UnreadFormat("JPEG 2000", 0, (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), "save it as PNG, or keep it within DICOM"),
    UnreadFormat("HEIC or AVIF", 4, (b"ftyp",), "save it as PNG"),
    UnreadFormat("OpenEXR", 0, (b"\x76\x2f\x31\x01",), "save it as TIFF or .npy"),
    UnreadFormat("Photoshop", 0, (b"8BPS",), "save it as PNG"),
    UnreadFormat("PDF", 0, (b"%PDF",), "export the image from it"),
    UnreadFormat("Interfile", 0, (b"!INTERFILE", b"INTERFILE"), _TO_NIFTI),
    UnreadFormat("ECAT", 0, (b"MATRIX7",), "convert it to NIfTI, as with ecat2nii or nibabel"),
    UnreadFormat("Philips PAR/REC", 0, (b"# === DATA DESCRIPTION FILE",), "convert it with dcm2niix"),
    UnreadFormat("VTK", 0, (b"# vtk DataFile", b"<VTKFile"), "save it as MetaImage or NRRD, as ITK does"),
    UnreadFormat("AFNI", 0, (b"\ntype  = ", b"type  = "), "convert it with 3dAFNItoNIFTI"),
    UnreadFormat("Scanco ISQ", 0, (b"CTDATA-HEADER_V1",), "convert it to MetaImage or NIfTI"),
    UnreadFormat("GIPL", 252, (b"\xef\xff\xe9\xb0", b"\x2a\xe3\x89\xb8"), "convert it to NIfTI, as ITK-SNAP does"),
    UnreadFormat("MRC", 208, (b"MAP ",), "convert it to MetaImage or NIfTI"),
    UnreadFormat("Zeiss CZI", 0, (b"ZISRAWFILE",), "export it as TIFF"),
    UnreadFormat("TrackVis", 0, (b"TRACK\0",), "this holds fibre tracts, no image"),
    UnreadFormat("7z", 0, (b"7z\xbc\xaf\x27\x1c",), "unpack it and name the scan's folder"),
    UnreadFormat("RAR", 0, (b"Rar!\x1a\x07",), "unpack it and name the scan's folder"),
    UnreadFormat("tar", 257, (b"ustar",), "unpack it and name the scan's folder"),
    UnreadFormat("xz", 0, (b"\xfd7zXZ\0",), "unpack it first"),
    UnreadFormat("bzip2", 0, (b"BZh",), "unpack it first"),
    UnreadFormat("Zstandard", 0, (b"\x28\xb5\x2f\xfd",), "unpack it first"),
    UnreadFormat("a web page", 0, (b"<!DOCTYPE html", b"<!doctype html", b"<html"), "a download went wrong: repeat it"),
    UnreadFormat("a pointer of Git LFS", 0, (b"version https://git-lfs",), "get the file itself with git lfs pull"),
)  # fmt: skip
_JPEGS = {0xC3: "lossless JPEG", 0xC5: "hierarchical JPEG", 0xC9: "arithmetic-coded JPEG", 0xF7: "JPEG-LS"}
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}


def refuse_known(head: bytes) -> None:
    """Raise ReadError with the name of the format and what to do, where the first bytes (uncompressed) tell it."""
    for known in UNREAD:
        if head[known.at :].startswith(known.marks):
            raise ReadError(f"this is {known.name}, which is not read here: {known.advice}")


def refuse_unreadable_jpeg(path: Path, head: bytes) -> None:
    """Raise ReadError for a JPEG that is not damaged but of a type that ordinary decoders lack."""
    if not head.startswith(b"\xff\xd8\xff"):
        return
    with path.open("rb") as file:
        data = file.read(2**18)
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (0xFF, 0x01) or 0xD0 <= marker <= 0xD7:
            at += 1 if marker == 0xFF else 2
            continue
        if marker in _FRAMES:
            name = _JPEGS.get(marker)
            bits = data[at + 4]
            if name is None and bits != 8:
                name = f"JPEG of {bits} bits"
            if name is not None:
                raise ReadError(f"this is {name}, which is read within DICOM only: save it as a 16-bit PNG")
            return
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]

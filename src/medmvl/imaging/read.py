"""The one entry point to files: `read(path)` looks at the content, picks the reader from one table, returns a MedicalImage.

The name's extension is never trusted. Nothing is resampled here, and what a file does not say is not
invented.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from medmvl.errors import AmbiguousSourceError, MissingExtraError, ReadError, UserError
from medmvl.imaging import analyze, arrays, metaimage, mgh, nifti, nrrd, raster, zipped
from medmvl.imaging.declared_metadata import Declared, apply_declared
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.partners import header_of
from medmvl.imaging.selector import Selector, split_selector
from medmvl.imaging.silence import silent_libraries
from medmvl.imaging.unread_formats import refuse_known
from medmvl.imaging.volume_files import read_head


class Format(NamedTuple):
    """One way to store an image: its name, how its first bytes are recognised, how it is read."""

    name: str
    sniff: Callable[[bytes, Path], bool]
    read: Callable[[Path, Selector], MedicalImage]
    unpacks_gzip: bool = False


def _sniff_dicom(head: bytes, path: Path) -> bool:
    from medmvl.imaging.dicom import sniff_dicom

    return sniff_dicom(head, path)


def _read_dicom(path: Path, selector: Selector) -> MedicalImage:
    from medmvl.imaging.dicom import read_dicom

    return read_dicom(path, selector)


def _read_zip(path: Path, selector: Selector) -> MedicalImage:
    return zipped.read_zip(path, lambda unpacked: _read_source(unpacked, selector, archives=False))


LISTED_FILES = 10_000
"""Files of a folder that are looked at, to tell which other formats it holds."""
FORMATS: tuple[Format, ...] = (
    Format("NIfTI-1/2 (.nii, .nii.gz, .hdr with .img)", nifti.sniff, nifti.read_nifti, unpacks_gzip=True),
    Format("Analyze 7.5 (.hdr with .img)", analyze.sniff, analyze.read_analyze),
    Format("FreeSurfer's MGH (.mgh, .mgz)", mgh.sniff, mgh.read_mgh, unpacks_gzip=True),
    Format("NRRD (.nrrd, .nhdr)", nrrd.sniff, nrrd.read_nrrd),
    Format("MetaImage (.mha, .mhd)", metaimage.sniff, metaimage.read_metaimage),
    Format("NumPy (.npy, .npz)", arrays.sniff, arrays.read_array),
    Format("zip of a DICOM series or of one scan", zipped.sniff, _read_zip),
    Format("PNG, JPEG, TIFF, BMP, WebP, PGM, PPM, JPEG XL", raster.sniff, raster.read_raster),
    Format(
        "DICOM (a file, or a folder with a series)", _sniff_dicom, _read_dicom
    ),  # last: some files have no mark at all
)


def read(
    path: str | os.PathLike[str],
    *,
    units: str | None = None,
    spacing_mm: Sequence[float] | None = None,
    axcodes: Sequence[str] | str | None = None,
    modality: str | None = None,
) -> MedicalImage:
    """Read a 2D image or 3D volume from a file or a DICOM folder.

    Args:
        path: the file or folder, where it holds several images with `#series=2`, `#frame=3` or `#time=1`
            after it.
        units: declared where the file does not say it, such as "HU" for a CT in NIfTI; one of `units.UNITS`.
        spacing_mm: declared spacing in array order, for arrays that carry none.
        axcodes: declared directions of the axes in the file's order (slices, rows, columns), such as "SPL".
        modality: declared modality, such as "CT", which also makes a NIfTI's values Hounsfield units where
            they look so.

    Raises:
        AmbiguousSourceError: the path holds several images; the message lists them and how to choose.
        MissingExtraError: an optional library is needed.
        ReadError: anything else that keeps it from being read. The message names the path; the `__cause__`
            does not.
    """
    try:
        file, selector = split_selector(path)
        declared = Declared.parse(units, spacing_mm, axcodes, modality)
        with silent_libraries():
            return apply_declared(_read_source(file, selector), declared)
    except (ReadError, MissingExtraError) as error:
        raise error.reworded(lambda said: f"{os.fspath(path)}: {said}") from error
    except MemoryError as error:
        raise ReadError(f"{os.fspath(path)}: the image does not fit into this machine's memory") from error
    except OSError as error:
        raise ReadError(f"{os.fspath(path)}: {error.strerror or 'cannot be read'}") from error
    except UserError:
        raise
    except Exception as error:  # noqa: BLE001  whatever a library raises about a file is said about the file
        raise ReadError(
            f"{os.fspath(path)}: {_unforeseen(error)}"
        ) from None  # its message may quote a header


def _unforeseen(error: Exception) -> str:
    """Say that a library failed at a file, and where, without repeating its words."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" in {trace.tb_frame.f_globals.get('__name__')}, line {trace.tb_lineno}"
    return f"the file is damaged in a way that nobody foresaw ({type(error).__name__}{place})"


def _read_source(path: Path, selector: Selector, *, archives: bool = True) -> MedicalImage:
    if path.is_dir():
        from medmvl.imaging.dicom import read_dicom_folder

        return read_dicom_folder(path, selector)
    if not path.exists():
        raise ReadError("there is no such file or folder")
    if not path.is_file():
        raise ReadError("this is neither a file nor a folder")
    path = header_of(path)
    format_ = _format_of(path)
    if format_.sniff is zipped.sniff and not archives:
        raise ReadError("this is an archive within an archive: unpack it first")
    return format_.read(path, selector)


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def recognised(path: Path) -> bool:
    """Return whether a file begins like an image in a format that is read."""
    try:
        head = read_head(path)
    except (OSError, ReadError):
        return False
    return bool(head) and any(format_.sniff(head, path) for format_ in FORMATS)


def other_images(folder: Path) -> list[tuple[Path, str]]:
    """List what a folder holds next to DICOM, among its first `LISTED_FILES` files: the files, and names of their formats."""
    found = []
    for path in islice((path for path in sorted(folder.rglob("*")) if path.is_file()), LISTED_FILES):
        try:
            head = read_head(path)
        except (OSError, ReadError):
            continue
        format_ = next((one for one in FORMATS if head and one.sniff(head, path)), FORMATS[-1])
        if format_ is not FORMATS[-1]:
            found.append((path, format_.name))
    return found


def is_dicom(path: Path) -> bool:
    """Return whether a file begins like DICOM, and like no other format."""
    try:
        head = read_head(path)
    except (OSError, ReadError):
        return False
    return bool(head) and next((f for f in FORMATS if f.sniff(head, path)), None) is FORMATS[-1]


def _format_of(path: Path) -> Format:
    if path.stat().st_size == 0:
        raise ReadError("the file is empty")
    head = read_head(path)
    found = next((format_ for format_ in FORMATS if format_.sniff(head, path)), None)
    if found is not None and not found.unpacks_gzip and _is_gzip(path):
        raise ReadError(f"this is gzip around another file ({found.name}): unpack it and use what comes out")
    if found is not None:
        return found
    refuse_known(head)
    known = "; ".join(format_.name for format_ in FORMATS)
    raise ReadError(f"this is not an image in a format that can be read. Supported: {known}")


__all__ = ["FORMATS", "AmbiguousSourceError", "Format", "read", "read_head"]

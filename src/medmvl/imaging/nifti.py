"""NIfTI-1 and NIfTI-2: `.nii`, `.nii.gz`, and `.hdr` with `.img`.

Orientation is the sform where its code is positive, else the qform; with neither it is unknown. NIfTI never
says what its values mean, so units are "arbitrary" unless declared. Standard: https://nifti.nimh.nih.gov
"""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from medmvl.errors import AmbiguousSourceError, ReadError
from medmvl.imaging.geometry import Affine, check_affine, reverse_axes
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.limits import check_size
from medmvl.imaging.selector import Selector, pick
from medmvl.imaging.volume_files import check_stored, finish_gzip, read_exactly, scaled, spatial_volume

_HEADERS = {348: (nib.Nifti1Header, 344), 540: (nib.Nifti2Header, 4)}
_MILLIMETRES = {1: 1000.0, 3: 0.001}
"""xyzt_units: 1 is metre, 3 micron; 2 (millimetre) and 0 (unsaid) need no scaling."""


class _Layout(NamedTuple):
    """Where the voxels lie and how many there are."""

    shape: tuple[int, int, int]
    times: int
    dtype: np.dtype[Any]
    offset: int


def sniff(head: bytes, path: Path) -> bool:
    """Tell whether these are the first bytes of a NIfTI header."""
    return _header_size(head) is not None


def _header_size(head: bytes) -> int | None:
    for order in ("<i4", ">i4"):
        size = int(np.frombuffer(head[:4].ljust(4, b"\0"), order)[0])
        if size in _HEADERS and head[_HEADERS[size][1] :][:2] in (b"n+", b"ni"):
            return size
    return None


def read_nifti(path: Path, selector: Selector) -> MedicalImage:
    """Read one volume; of a 4D file the one that `#time=N` chooses.

    Raises:
        AmbiguousSourceError: for several time points.
        ReadError: where it is damaged, cut short, absurdly large, or holds no plain volume.
    """
    selector.refuse_others("time")
    head = _head(path)
    try:
        with np.errstate(invalid="ignore"):
            header = _parse(head)
            layout = _layout(header, single=head[_magic(head) + 1 : _magic(head) + 2] == b"+")
            affine, spacing, notes = _geometry(header)
            slope, intercept = header.get_slope_inter()
    except (
        HeaderDataError,
        ValueError,
        KeyError,
        OverflowError,
        ArithmeticError,
        np.linalg.LinAlgError,
    ) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"the NIfTI header is damaged: {error}") from error
    index = _choose_time(selector, layout.times)
    array = _load(_pixel_file(path, head), layout, index)
    if array.dtype.names:
        return _picture(array)
    values = scaled(
        array, 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)
    )
    return spatial_volume(values, affine, spacing, source_format="nifti", notes=notes)


def _opened(path: Path) -> Any:
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if compressed else path.open("rb")


def _head(path: Path) -> bytes:
    try:
        with _opened(path) as stream:
            return bytes(stream.read(540))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError("the compressed header is damaged or cut short") from error


def _magic(head: bytes) -> int:
    return _HEADERS[_header_size(head) or 348][1]


def _parse(head: bytes) -> Any:
    size = _header_size(head)
    if size is None or len(head) < size:
        raise ReadError("the NIfTI header is cut short")
    return _HEADERS[size][0](binaryblock=head[:size], check=False)


def _layout(header: Any, *, single: bool) -> _Layout:
    dims = [int(n) for n in header["dim"]]
    if not 1 <= dims[0] <= 7:
        raise ReadError(f"the NIfTI header claims {dims[0]} dimensions")
    shape = [int(n) for n in header.get_data_shape()] + [1, 1]
    if len(shape) > 6 and any(n > 1 for n in shape[4:]):
        said = " x ".join(map(str, shape[:-2]))
        raise ReadError(f"the file holds {said} values: several numbers a voxel, not a plain volume")
    dtype = header.get_data_dtype()
    times = shape[3] if dims[0] >= 4 else 1
    if times < 1:
        raise ReadError("the header claims no time points")
    volume = (shape[0], shape[1], shape[2])
    check_size(volume, dtype.itemsize)
    offset = int(header["vox_offset"])
    return _Layout(
        volume, times, dtype, max(offset, int(header["sizeof_hdr"]) + 4) if single else max(offset, 0)
    )


def _geometry(header: Any) -> tuple[Affine | None, tuple[float, ...] | None, list[str]]:
    """Return the affine of the reversed (slices, rows, columns) order, the spacing, and notes."""
    unit, notes = int(header["xyzt_units"]) & 7, []
    spacing = np.abs(np.asarray(header["pixdim"][1:4], dtype=np.float64))
    scale = _MILLIMETRES.get(unit, 1.0)
    if unit == 1 and np.nanmax(spacing) > 0.1:
        scale = 1.0
        notes.append(
            "the header says metres, which would make voxels larger than 10 cm; millimetres were assumed"
        )
    affine = None
    for name, get in (("sform", header.get_sform), ("qform", header.get_qform)):
        if int(header[f"{name}_code"]) <= 0 or affine is not None:
            continue
        try:
            candidate = np.asarray(get(), dtype=np.float64)
            check_affine(candidate)
            affine = np.diag([scale, scale, scale, 1.0]) @ candidate
        except (ReadError, HeaderDataError, ValueError, ArithmeticError, np.linalg.LinAlgError):
            notes.append(f"the {name} is not a usable orientation and was ignored")
    steps = tuple(float(step * scale) for step in reversed(spacing))
    return (None if affine is None else reverse_axes(affine)), steps, notes


def _choose_time(selector: Selector, times: int) -> int:
    if selector.time is not None:
        return pick(selector.time, times, "time")
    if times > 1:
        raise AmbiguousSourceError(
            f"the file holds {times} time points; choose one with #time=1 ... #time={times}"
        )
    return 0


def _pixel_file(path: Path, head: bytes) -> Path:
    if head[_magic(head) + 1 : _magic(head) + 2] == b"+":
        return path
    stem = path.with_suffix("") if path.suffix == ".gz" else path
    for suffix in (".img", ".IMG", ".img.gz"):
        candidate = stem.with_suffix("").with_name(stem.stem + suffix)
        if candidate.is_file():
            return candidate
    raise ReadError("this is a NIfTI header whose pixels lie in an .img file beside it, which is missing")


def _load(path: Path, layout: _Layout, index: int) -> NDArray[Any]:
    size = check_size(layout.shape, layout.dtype.itemsize)
    stream: BinaryIO | gzip.GzipFile
    with _opened(path) as stream:
        compressed = isinstance(stream, gzip.GzipFile)
        check_stored(layout.offset + size * (index + 1), path.stat().st_size, compressed)
        data = read_exactly(stream, size, skip=layout.offset + index * size)
        if isinstance(stream, gzip.GzipFile):
            finish_gzip(stream)
    return np.frombuffer(data, layout.dtype).reshape(layout.shape[::-1])


def _picture(array: NDArray[Any]) -> MedicalImage:
    """Return a single colour slice as a picture."""
    if len(array) != 1 or not {"R", "G", "B"} <= set(array.dtype.names or ()):
        raise ReadError(
            "the file holds colour voxels in several slices; colour volumes are not supported, convert to grey"
        )
    rgb = np.stack([array[0][name] for name in "RGB"], axis=-1)
    note = "a colour slice: its place in the patient is not kept"
    return MedicalImage(array=rgb, kind="image", units="display", source_format="nifti", warnings=(note,))

"""NIfTI-1 and NIfTI-2: `.nii`, `.nii.gz`, and `.hdr` with `.img`.

Orientation is the sform where its code is positive, else the qform; with neither it is unknown. NIfTI never
says what its values mean, so units are "arbitrary" unless declared. Standard: https://nifti.nimh.nih.gov
"""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import AmbiguousSourceError, Choice, ReadError
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.limits import check_size
from medmvl.imaging.nifti_geometry import NiftiGeometry, damage, nifti_geometry
from medmvl.imaging.selector import Selector, pick
from medmvl.imaging.volume_files import (
    check_stored,
    finish_gzip,
    read_exactly,
    scaled,
    spatial_image,
    spatial_volume,
    surplus_notes,
)

if TYPE_CHECKING:
    from nibabel import Nifti1Header

_INTENT_LABEL = 1002
"""Intent code of voxels that are labels (nifti1.h, NIFTI_INTENT_LABEL)."""
_MAGIC_AT = {348: 344, 540: 4}
"""Size of the header of NIfTI-1 and of NIfTI-2, and where its mark is."""
_UNREADABLE = {
    0: "unknown",
    1: "single bits",
    1536: "128-bit floats",
    2048: "128-bit complex",
    1792: "complex",
    32: "complex",
}


class Layout(NamedTuple):
    """Where the voxels lie and how many there are."""

    shape: tuple[int, int, int]
    times: int
    dtype: np.dtype[Any]
    offset: int


def sniff(head: bytes, path: Path) -> bool:
    """Return whether these are the first bytes of a NIfTI header."""
    return _header_size(head) is not None


def _header_size(head: bytes) -> int | None:
    for order in ("<i4", ">i4"):
        size = int(np.frombuffer(head[:4].ljust(4, b"\0"), order)[0])
        if size in _MAGIC_AT and head[_MAGIC_AT[size] :][:2] in (b"n+", b"ni"):
            return size
    return None


def read_nifti(path: Path, selector: Selector) -> MedicalImage:
    """Read one volume; of a 4D file the one that `#time=N` chooses, of colour slices the one that `#frame=N` does.

    Raises:
        AmbiguousSourceError: for several time points, or several slices in colour.
        ReadError: where it is damaged, cut short, absurdly large, or holds no plain volume.
    """
    selector.refuse_others("time", "frame")
    head = _head(path)
    try:
        with np.errstate(invalid="ignore"):
            header = _parse(head)
            layout = layout_of(header, single=head[_magic(head) + 1 : _magic(head) + 2] == b"+")
            geometry = nifti_geometry(header)
            slope, intercept, scaling_notes = _scaling(header)
            is_label = int(header["intent_code"]) == _INTENT_LABEL and (slope, intercept) == (1.0, 0.0)
    except damage() as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"the NIfTI header is damaged: {error}") from error
    pixels = _pixel_file(path, head)
    array, beyond = load_pixels(pixels, layout, choose_time(selector, layout.times))
    if array.dtype.names:
        return _colour_slice(array, geometry, selector)
    selector.refuse_others("time")
    return spatial_volume(
        scaled(array, slope, intercept),
        geometry.affine,
        geometry.spacing_mm,
        source_format="nifti",
        notes=[*geometry.notes, *scaling_notes, *beyond],
        units="label" if is_label and array.dtype.kind in "iu" else "arbitrary",
    )


def opened(path: Path) -> BinaryIO:
    """Open a file for reading, through gzip where its first bytes say so."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path, "rb")) if compressed else path.open("rb")


def _head(path: Path) -> bytes:
    try:
        with opened(path) as stream:
            return bytes(stream.read(540))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError("the compressed header is damaged or cut short") from error


def _magic(head: bytes) -> int:
    return _MAGIC_AT[_header_size(head) or 348]


def _parse(head: bytes) -> Nifti1Header:
    size = _header_size(head)
    if size is None or len(head) < size:
        raise ReadError("the NIfTI header is cut short")
    import nibabel  # takes most of a second to import

    header = nibabel.Nifti1Header if size == 348 else nibabel.Nifti2Header
    return header(binaryblock=head[:size], check=False)


def _scaling(header: Nifti1Header) -> tuple[float, float, list[str]]:
    """Return slope and intercept; a slope of 0, or one that is not a number, means that nothing is scaled."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0 or np.isnan(slope):
        ignored = slope == 0 and np.isfinite(intercept) and intercept != 0
        said = f"scl_slope is 0, which means no scaling: scl_inter {intercept:g} was not added"
        return 1.0, 0.0, [said] if ignored else []
    if np.isinf(slope):
        return 1.0, 0.0, ["scl_slope is infinite: the values are as they are stored"]
    if not np.isfinite(intercept):
        return slope, 0.0, ["scl_inter is not a number: nothing was added"]
    return slope, intercept, []


def layout_of(header: Nifti1Header, *, single: bool) -> Layout:
    """Return how many voxels of what type lie where, for a header of nibabel's Analyze family.

    Raises:
        ReadError: for several numbers per voxel, types that are not read, and sizes beyond the limit.
    """
    dims = [int(n) for n in header["dim"]]
    if not 1 <= dims[0] <= 7:
        raise ReadError(f"the NIfTI header claims {dims[0]} dimensions")
    shape = [int(n) for n in header.get_data_shape()] + [1, 1]
    shape[3:] = [n or 1 for n in shape[3:]]  # niftilib takes 0 for an axis that is not there
    if len(shape) > 6 and any(n > 1 for n in shape[4:]):
        said = " x ".join(map(str, shape[:-2]))
        raise ReadError(f"the file holds {said} values: several numbers per voxel, not a plain volume")
    dtype = _dtype(header)
    times = shape[3] if dims[0] >= 4 else 1
    if times < 1:
        raise ReadError("the header claims no time points")
    volume = (shape[0], shape[1], shape[2])
    check_size(volume, dtype.itemsize)
    offset = int(header["vox_offset"])
    return Layout(
        volume, times, dtype, max(offset, int(header["sizeof_hdr"]) + 4) if single else max(offset, 0)
    )


def _dtype(header: Nifti1Header) -> np.dtype[Any]:
    code = int(header["datatype"])
    if code in _UNREADABLE:
        raise ReadError(
            f"the voxels have data type {code} ({_UNREADABLE[code]}), which is not read; expected real numbers"
        )
    try:
        dtype: np.dtype[Any] = np.dtype(header.get_data_dtype())
    except damage() as error:
        raise ReadError(f"the voxels have data type {code}, which the format does not know") from error
    if dtype.itemsize == 0 or dtype.kind not in "iufV" or (dtype.kind == "V" and not dtype.names):
        raise ReadError(
            f"the voxels have data type {code} ({dtype}), which is not read; expected real numbers"
        )
    return dtype


def choose_time(selector: Selector, times: int) -> int:
    """Return the 0-based time point that `#time=N` asks for.

    Raises:
        AmbiguousSourceError: there are several and none was chosen.
    """
    if selector.time is not None:
        return pick(selector.time, times, "time")
    if times > 1:
        raise AmbiguousSourceError(
            f"the file holds {times} volumes (time points, or the sequences of one patient)",
            Choice("time", times),
        )
    return 0


def _pixel_file(path: Path, head: bytes) -> Path:
    return path if head[_magic(head) + 1 : _magic(head) + 2] == b"+" else pixels_beside(path)


def pixel_files(path: Path) -> list[str]:
    """Name of the `.img` file of a header; none where the pixels follow it.

    Raises:
        ReadError: the header is damaged, or the file is missing.
    """
    file = _pixel_file(path, _head(path))
    return [] if file == path else [file.name]


def pixels_beside(path: Path) -> Path:
    """Return the `.img` file of a `.hdr` header.

    Raises:
        ReadError: it is missing.
    """
    stem = path.with_suffix("") if path.suffix == ".gz" else path
    for suffix in (".img", ".IMG", ".img.gz"):
        candidate = stem.with_suffix("").with_name(stem.stem + suffix)
        if candidate.is_file():
            return candidate
    raise ReadError(
        "this is a header whose pixels lie in an .img file next to it, which is missing: keep both in one folder or zip"
    )


def load_pixels(path: Path, layout: Layout, index: int) -> tuple[NDArray[Any], list[str]]:
    """Return `(slices, rows, columns)` of one time point, unscaled, and what follows; `.gz` is inflated as far as needed.

    Raises:
        ReadError: where the file is cut short or its compression damaged.
    """
    size = check_size(layout.shape, layout.dtype.itemsize)
    stream: BinaryIO | gzip.GzipFile
    with opened(path) as stream:
        compressed = isinstance(stream, gzip.GzipFile)
        check_stored(layout.offset + size * (index + 1), path.stat().st_size, compressed)
        data = read_exactly(stream, size, skip=layout.offset + index * size)
        foreign: list[str] = finish_gzip(stream) if isinstance(stream, gzip.GzipFile) else []
    array = np.frombuffer(data, layout.dtype).reshape(layout.shape[::-1])
    return array, foreign or _surplus_of(path, layout)


def _surplus_of(path: Path, layout: Layout) -> list[str]:
    """A warning about bytes beyond the last voxel.

    The size of a `.gz` is that in its last four bytes; in a file of several members they count the last member alone.
    """
    promised = layout.offset + layout.times * check_size(layout.shape, layout.dtype.itemsize)
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        stored = file.seek(-4 if compressed else 0, os.SEEK_END)
        if compressed:
            stored = int.from_bytes(file.read(4), "little")
    return surplus_notes(stored - promised, layout.shape[0] * layout.shape[1] * layout.dtype.itemsize)


def _colour_slice(array: NDArray[Any], geometry: NiftiGeometry, selector: Selector) -> MedicalImage:
    """Return one slice of red, green and blue as an image; NIfTI's slope never applies to colour."""
    rgb = np.stack([array[name] for name in "RGB"], axis=-1)
    affine, count = geometry.affine, len(rgb)
    if count > 1 and 1 not in rgb.shape[:3] and selector.frame is None:
        raise AmbiguousSourceError(
            f"the file holds {count} slices in colour, which are no volume of values",
            Choice("frame", count, already=str(selector)),
            ", in the order of the file",
        )
    if selector.frame is not None:
        chosen = pick(selector.frame, count, "frame")
        rgb = rgb[chosen : chosen + 1]
        affine = None if affine is None else affine @ _moved(chosen)
    return spatial_image(rgb, affine, geometry.spacing_mm, source_format="nifti", notes=geometry.notes)


def _moved(slices: int) -> NDArray[np.float64]:
    matrix = np.eye(4)
    matrix[0, 3] = slices
    return matrix

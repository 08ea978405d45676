"""NumPy `.npy` and `.npz`, never unpickled.

A bare array says nothing but its shape: spacing, axes and units are declared by the caller. An `.npz` with
the keys `array`, `affine`, `units`, ... as `write.write_npy` makes it describes itself.
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from medmvl.errors import ReadError
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.limits import check_size
from medmvl.imaging.selector import Selector
from medmvl.imaging.volume_files import check_stored, plain_numbers, spatial_volume

_BAD_ARRAY = (
    ValueError, EOFError, SyntaxError, TypeError, OverflowError, KeyError, RecursionError, tokenize.TokenError, zlib.error,
)  # fmt: skip
_BAD_ZIP = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    KeyError,
    ValueError,
    struct.error,
)
_SELF_DESCRIBING = (
    "array",
    "affine",
    "spacing_mm",
    "units",
    "modality",
    "acquired_axcodes",
    "slice_positions_mm",
)


def sniff(head: bytes, path: Path) -> bool:
    """Return whether these are the first bytes of an .npy file, or of a zip archive whose first file is one."""
    first = head[30 : 30 + int.from_bytes(head[26:28], "little")]  # its name (APPNOTE 4.3.7)
    return head.startswith(b"\x93NUMPY") or (head.startswith(b"PK\x03\x04") and first.endswith(b".npy"))


def read_array(path: Path, selector: Selector) -> MedicalImage:
    """Read `(D, H, W)` or `(1, D, H, W)` as a volume, `(H, W)` or 8-bit `(H, W, 3)` as an image.

    Raises:
        ReadError: for pickled objects, other shapes, several arrays without the key `array`, damage.
    """
    selector.refuse_others()
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            return _described({"array": _load(file, path.stat().st_size)})
    return _described(_load_archive(path))


def from_array(array: NDArray[Any]) -> MedicalImage:
    """An array in memory, as it would be read from a bare `.npy` file.

    Raises:
        ReadError: it holds Python objects, is empty, or has another shape than those of images and volumes.
    """
    if array.dtype.hasobject or 0 in array.shape:
        raise ReadError(f"an array of shape {array.shape} and type {array.dtype} holds no image")
    return _described({"array": array})


def _load(file: BinaryIO, stored: int, *, compressed: bool = False) -> NDArray[Any]:
    """Read one array whose header was checked against the bytes that are there."""
    try:
        start = file.tell()
        version = npy.read_magic(file)
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            raise ReadError("the array holds Python objects, which are never loaded; save plain numbers")
        if 0 in shape or dtype.itemsize == 0:
            raise ReadError(f"the array of shape {shape} is empty")
        check_stored(check_size(shape or (1,), dtype.itemsize), stored, compressed)
        file.seek(start)
        return np.asarray(npy.read_array(file, allow_pickle=False))
    except ReadError:
        raise
    except _BAD_ARRAY as error:
        raise ReadError("the NumPy array is damaged or cut short") from error


def _load_archive(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [
                info.filename.removesuffix(".npy")
                for info in archive.infolist()
                if info.filename.endswith(".npy")
            ]
            wanted = [name for name in names if name in _SELF_DESCRIBING] if "array" in names else names
            if "train_images" in names:
                raise ReadError(
                    "this is an archive of MedMNIST with many images: `medmvl data convert medmnist FOLDER OUT` makes a data "
                    "set of it, and an image saved as PNG can be read by itself"
                )
            if len(wanted) > 1 and "array" not in names:
                raise ReadError(
                    f"the archive holds {len(names)} arrays ({', '.join(names[:8])}); expected one, or the key 'array'"
                )
            loaded = {}
            for name in wanted:
                info = archive.getinfo(f"{name}.npy")
                with cast(BinaryIO, archive.open(info)) as member:
                    stored = (
                        info.compress_size if info.compress_type == zipfile.ZIP_DEFLATED else info.file_size
                    )
                    loaded[name] = _load(
                        member, stored, compressed=info.compress_type == zipfile.ZIP_DEFLATED
                    )
    except ReadError:
        raise
    except _BAD_ZIP as error:
        raise ReadError("the .npz archive is damaged or cut short") from error
    if not loaded:
        raise ReadError("the archive holds no array")
    return loaded if "array" in loaded else {"array": next(iter(loaded.values()))}


def _described(parts: dict[str, NDArray[Any]]) -> MedicalImage:
    array = parts["array"]
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    colour = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    if array.ndim not in (2, 3):
        raise ReadError(
            f"the array has shape {array.shape}; expected (D, H, W), (1, D, H, W), (H, W) or 8-bit (H, W, 3)"
        )
    units, modality = _text(parts, "units"), _text(parts, "modality")
    spacing = _numbers(parts, "spacing_mm", 2 if array.ndim == 2 or colour else 3)
    if array.ndim == 2 or colour:
        values, notes = plain_numbers(array)
        said = units or ("display" if values.dtype == np.uint8 else "arbitrary")
        return MedicalImage(
            array=values,
            kind="image",
            units=said,
            modality=modality,
            spacing_mm=spacing,
            source_format="numpy",
            warnings=tuple(notes),
        )
    image = spatial_volume(
        array,
        _affine(parts),
        spacing,
        source_format="numpy",
        notes=_perhaps_colour(array),
        units=units or "arbitrary",
        modality=modality,
    )
    return _with_acquisition(image, parts)


def _with_acquisition(image: MedicalImage, parts: dict[str, NDArray[Any]]) -> MedicalImage:
    """Restore how the scan was made, which the canonical array no longer shows."""
    if "acquired_axcodes" in parts and image.axcodes is not None:
        codes = tuple(str(code) for code in np.atleast_1d(parts["acquired_axcodes"]))
        axes = sorted(
            "LR" if code in "LR" else "AP" if code in "AP" else "SI" if code in "SI" else "?"
            for code in codes
        )
        if axes != ["AP", "LR", "SI"]:
            raise ReadError("acquired_axcodes of the archive are not three different body axes")
        image = replace(image, acquired_axcodes=codes)
    if "slice_positions_mm" in parts:
        positions = np.atleast_1d(plain_numbers(parts["slice_positions_mm"])[0]).astype(np.float64)
        image = replace(image, slice_positions_mm=tuple(float(position) for position in positions))
    return image


def _text(parts: dict[str, NDArray[Any]], key: str) -> str | None:
    if key not in parts:
        return None
    if parts[key].dtype.kind != "U" or parts[key].ndim != 0:
        raise ReadError(f"the archive's {key} is not text")
    return str(parts[key])


def _numbers(parts: dict[str, NDArray[Any]], key: str, count: int) -> tuple[float, ...] | None:
    if key not in parts:
        return None
    values = parts[key]
    if values.shape != (count,) or values.dtype.kind not in "fiu" or not (values > 0).all():
        raise ReadError(f"the archive's {key} should be {count} positive numbers in array order")
    return tuple(float(value) for value in values)


def _affine(parts: dict[str, NDArray[Any]]) -> NDArray[np.float64] | None:
    if "affine" not in parts:
        return None
    if parts["affine"].shape != (4, 4) or parts["affine"].dtype.kind not in "fiu":
        raise ReadError("the archive's affine should be 4 x 4 numbers")
    return parts["affine"].astype(np.float64)


def _perhaps_colour(array: NDArray[Any]) -> list[str]:
    """Warn of a volume that may be a colour image in another order or depth."""
    if array.ndim != 3 or min(array.shape[:2]) < 1 or 3 not in (array.shape[0], array.shape[2]):
        return []
    if array.shape[2] == 3 and array.shape[0] > 8 < array.shape[1]:
        return [
            f"an array of {array.dtype} with 3 columns was read as a volume: if these are colours, save them as 8-bit (H, W, 3)"
        ]
    if array.shape[0] == 3 and array.dtype == np.uint8:
        return [
            "an array of 8 bits with 3 slices was read as a volume: if these are colours, save them as (H, W, 3)"
        ]
    return []

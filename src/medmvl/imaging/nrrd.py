"""NRRD: `.nrrd`, or `.nhdr` with its pixels next to it. The header is parsed by pynrrd, the pixels are read within bounds here.

Format: https://teem.sourceforge.net/nrrd/format.html
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import nrrd
import numpy as np
from numpy.typing import NDArray

from medmvl.errors import AmbiguousSourceError, Choice, ReadError
from medmvl.imaging.geometry import Affine
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.lengths import millimetres_per
from medmvl.imaging.nrrd_claims import steps_between_ends, value_units
from medmvl.imaging.nrrd_pixels import BINARY, NrrdHeader, dtype_of, load_pixels
from medmvl.imaging.selector import Selector, pick
from medmvl.imaging.units import hounsfield_doubts
from medmvl.imaging.volume_files import (
    NO_ORIGIN,
    beside,
    numbered_names,
    spatial_volume,
    surplus_notes,
)

_SPACES = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1), "lps": (-1, -1, 1),
}  # fmt: skip
_FIELD_NAMES = {
    "datafile": "data file",
    "lineskip": "line skip",
    "byteskip": "byte skip",
    "centerings": "centers",
    "axismins": "axis mins",
    "axismaxs": "axis maxs",
}
"""Other spellings that the format allows."""
MAX_NAME = 64
_OF_SEGMENT = re.compile(r"Segment\d+_(LabelValue|Name|Layer)")
_SEGMENT = re.compile(r"Segment(\d+)_LabelValue")
"""Key of 3D Slicer for the label of a segment; `Segment0_Name` holds what it is called."""
_MAX_LINES, _MAX_LINE, _MAX_LIST_BYTES = 1000, 65536, 2**22
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
    """Return whether these are the first bytes of an NRRD header."""
    return head.startswith(b"NRRD00")


def read_nrrd(path: Path, selector: Selector) -> MedicalImage:
    """Read one volume; of several along a list or time axis the one that `#time=N` chooses.

    Raises:
        AmbiguousSourceError: for several time points.
        ReadError: where it is damaged, cut short, absurdly large, coloured, in an unknown unit of length, or names
            pixels outside its folder.
    """
    selector.refuse_others("time")
    try:
        with path.open("rb") as file:
            header, names = read_fields(file)
            array = load_pixels(path, header, names, file)
            return _build(array, header, selector, _surplus(path, header, names, file, array.nbytes))
    except ReadError:
        raise
    except _DAMAGE as error:
        raise ReadError(f"the NRRD header is damaged: {type(error).__name__} {str(error)[:200]}") from error


def read_fields(file: BinaryIO) -> tuple[NrrdHeader, list[str] | None]:
    """Return the header's fields and the names of the files with its pixels, None where they follow the header.

    pynrrd parses the fields. It is given the lines without key/value pairs, of which those of segments are kept apart, with
    field names in lower case, and without `data file`, as it fails at a LIST; and decoded, as it drops what is not ASCII,
    which turns "µm" into "m".
    """
    lines, data_file = [_line(file)], None
    segments: dict[str, str] = {}
    for _ in range(_MAX_LINES):
        line = _line(file)
        if not line:
            break
        name, separator, value = line.partition(":")
        if value.startswith("=") and _OF_SEGMENT.fullmatch(name):
            segments[name] = value[1:]
        if line.startswith("#") or value.startswith("="):
            continue
        if not separator:
            raise ReadError(f"the NRRD header is damaged: a line has no field ({line[:40]!r})")
        field = _FIELD_NAMES.get(name.strip().lower(), name.strip().lower())
        if field != "data file":
            lines.append(f"{field}:{value}")
            continue
        data_file = value.strip()
        if _is_list(data_file):
            break  # the names are all lines that follow
    header = {**nrrd.read_header(lines), **segments}
    if data_file is None:
        return header, None
    following = (
        file.read(_MAX_LIST_BYTES).decode("utf-8", "replace").splitlines() if _is_list(data_file) else []
    )
    return header, _pixel_names(data_file, [line.strip() for line in following if line.strip()])


def pixel_files(path: Path) -> list[str]:
    """Names of the files that hold the pixels of a header; none where they follow it.

    Raises:
        ReadError: the header is damaged, or its pattern is not understood.
    """
    with path.open("rb") as file:
        try:
            return read_fields(file)[1] or []
        except _DAMAGE as error:
            raise ReadError("the NRRD header is damaged") from error


def _line(file: BinaryIO) -> str:
    return file.readline(_MAX_LINE).decode("utf-8", "replace").rstrip()


def _is_list(data_file: str) -> bool:
    return data_file.split()[:1] == ["LIST"]


def _pixel_names(data_file: str, listed: list[str]) -> list[str]:
    words = data_file.split()
    if _is_list(data_file):
        return listed
    if "%" in data_file and len(words) >= 4:
        return numbered_names(words[0], int(words[1]), int(words[2]), int(words[3]))
    return [data_file]


def _surplus(path: Path, header: NrrdHeader, names: list[str] | None, file: BinaryIO, size: int) -> int:
    """Bytes of raw pixels beyond those that the header counts."""
    skipped = int(header.get("byte skip", 0))
    if header["encoding"].lower() != "raw" or skipped < 0 or int(header.get("line skip", 0)):
        return 0
    if names is None:
        return path.stat().st_size - file.tell()
    return sum(beside(path, name).stat().st_size - skipped for name in names) - size


def _build(array: NDArray[Any], header: NrrdHeader, selector: Selector, surplus: int) -> MedicalImage:
    plane = array.nbytes // max(array.shape[0], 1)
    directions = _directions(header, array.ndim)
    spatial = [axis for axis, step in enumerate(directions) if step is not None]
    if len(spatial) != 3 and array.ndim <= 3:
        spatial, directions = list(range(array.ndim)), [None] * array.ndim
    if len(spatial) not in (2, 3):
        raise ReadError(f"the file has {len(spatial)} spatial axes of {array.ndim}; expected a volume")
    others = [axis for axis in range(array.ndim) if axis not in spatial]  # file order, fastest first
    array, chosen = _choose(array, others, header, selector)
    array = array[None] if array.ndim == 2 else array
    scales = _scales(header, spatial)
    affine = _affine(header, [directions[axis] for axis in spatial], scales)
    spacing, lengths = _spacing(header, spatial, scales)
    lengths = lengths if affine is None or "space origin" in header else [*lengths, NO_ORIGIN]
    names = _segments(header, chosen) if array.dtype.kind in "iu" else {}
    units, told = ("label", []) if names else value_units(header)
    told = [*told, *(hounsfield_doubts(array, "volume", "the file says") if units == "HU" else [])]
    return spatial_volume(
        array,
        affine,
        spacing,
        source_format="nrrd",
        notes=[*_notes(header, scales), *lengths, *told, *surplus_notes(surplus, plane)],
        units=units,
        label_names=names or None,
    )


def _segments(header: NrrdHeader, layer: int) -> dict[int, str]:
    """Return the names of a segmentation of 3D Slicer (`.seg.nrrd`) by label, empty for any other file.

    Args:
        header: the header.
        layer: which volume of the file was chosen: segments that overlap lie in layers, each with labels of its own.
    """
    names = {}
    for key, value in header.items():
        found = _SEGMENT.fullmatch(str(key))
        if found and str(value).strip().isdigit():
            if str(header.get(f"Segment{found[1]}_Layer", layer)).strip() != str(layer):
                continue
            said = "".join(
                c for c in str(header.get(f"Segment{found[1]}_Name", "")) if c.isprintable()
            ).strip()
            names[int(value)] = said[:MAX_NAME] or "unnamed"
    return names


def _notes(header: NrrdHeader, scales: _Scales) -> list[str]:
    notes = []
    if any(scale != 1 for scale in (*scales.space, *scales.axes)):
        notes.append(
            "the header says lengths in another unit: spacing and position were converted to millimetres"
        )
    if "endian" not in header and header["encoding"].lower() in BINARY and dtype_of(header).itemsize > 1:
        notes.append("the header does not say the order of bytes; little-endian was assumed")
    ends = [header[key] for key in ("old min", "old max") if key in header]
    if ends:
        notes.append(
            f"the values were made from others ({' and '.join(f'{float(end):g}' for end in ends)} as old min and old max): "
            "they are as stored, and what they measured is not restored"
        )
    return notes


class _Scales(NamedTuple):
    """Millimetres per unit of the header's numbers."""

    space: tuple[float, float, float]
    """Scale of each axis of the space, for directions and origin."""
    axes: tuple[float, ...]
    """Scale of each spatial axis of the array, for spacings."""


def _scales(header: NrrdHeader, spatial: list[int]) -> _Scales:
    """Return what `space units` and `units` say; where a space has none, the units of the axes speak for it.

    Raises:
        ReadError: for an unknown unit of length, or axes of one space in different units.
    """
    said = [str(unit) for unit in header.get("units", [])]
    axes = tuple(millimetres_per(said[axis] if axis < len(said) else "", "units") for axis in spatial)
    space = [millimetres_per(str(unit), "space units") for unit in header.get("space units", [])[:3]]
    if "space units" in header and len(space) < 3:
        raise ReadError("the header's space units do not fit its space")
    if not space and len(set(axes)) > 1 and "space directions" in header:
        raise ReadError(
            "the header's units differ between the axes of one space; expected one unit, or space units"
        )
    space = space or [axes[0] if axes else 1.0] * 3
    return _Scales((space[0], space[1], space[2]), axes)


def _directions(header: NrrdHeader, num_axes: int) -> list[NDArray[np.float64] | None]:
    """Return each axis' step in space, file order; None for axes that are not spatial."""
    if "space directions" not in header:
        kinds = header.get("kinds", ["domain"] * num_axes)
        return [np.zeros(3) if kind in ("domain", "space", "???", "none") else None for kind in kinds]
    steps: list[NDArray[np.float64] | None] = []
    for row in header["space directions"]:
        step = None if row is None or np.isnan(row).any() else np.asarray(row, dtype=np.float64)
        along_time = step is not None and len(step) == 4 and not step[:3].any()
        steps.append(None if along_time else step)
    if len(steps) != num_axes:
        raise ReadError("the header's space directions do not fit its dimension")
    return steps


def _choose(
    array: NDArray[Any], others: list[int], header: NrrdHeader, selector: Selector
) -> tuple[NDArray[Any], int]:
    """Pick the time point along the one axis that is not spatial; return it and its 0-based number."""
    kinds = header.get("kinds", [])
    counts = {axis: array.shape[array.ndim - 1 - axis] for axis in others}
    long_axes = [axis for axis, count in counts.items() if count > 1]
    for axis in long_axes:
        kind = str(kinds[axis]).lower() if axis < len(kinds) else "list"
        if len(long_axes) > 1 or kind not in ("list", "time", "none", "???", "domain"):
            raise ReadError(
                f"the file holds several numbers per voxel (an axis of kind {kind!r}); convert to one channel"
            )
        if selector.time is None:
            raise AmbiguousSourceError(f"the file holds {counts[axis]} volumes", Choice("time", counts[axis]))
    count = counts[long_axes[0]] if long_axes else 1
    chosen = pick(selector.time or 1, count, "time")
    for axis in sorted(
        others
    ):  # the fastest axis is the array's last: taking it leaves the slower ones in place
        taken = sum(1 for other in others if other < axis)
        array = array.take(chosen if axis in long_axes else 0, axis=array.ndim - 1 - (axis - taken))
    return array, chosen


def _affine(header: NrrdHeader, steps: list[NDArray[np.float64] | None], scales: _Scales) -> Affine | None:
    """Return the affine of the (slices, rows, columns) order, or None where the space has no anatomical meaning."""
    signs = _SPACES.get(_space(header))
    origin = header.get("space origin", (0.0, 0.0, 0.0))
    if signs is None or len(steps) != 3 or any(step is None or not step.any() for step in steps):
        return None
    affine = np.eye(4)
    affine[:3, :3] = np.stack([np.asarray(step)[:3] for step in reversed(steps)], axis=1)
    affine[:3, 3] = np.asarray(origin, dtype=np.float64)[:3]
    return np.diag([*signs, 1.0]) @ np.diag([*scales.space, 1.0]) @ affine


def _space(header: NrrdHeader) -> str:
    """Return the name of the space without its time."""
    name = str(header.get("space", "")).lower()
    return name[:3] if len(name) == 4 and name.endswith("t") else name.removesuffix("-time")


def _spacing(
    header: NrrdHeader, spatial: list[int], scales: _Scales
) -> tuple[tuple[float, ...] | None, list[str]]:
    """Return the spacing by directions, spacings, or the ends of the axes, and a warning about the last."""
    ends, notes = steps_between_ends(header, spatial)
    if "space directions" in header:
        rows = [header["space directions"][axis] for axis in spatial]
        vectors = [np.asarray(row, dtype=np.float64)[:3] for row in rows if row is not None]
        return _in_array_order(
            [float(np.linalg.norm(vector * scales.space[: len(vector)])) for vector in vectors]
        ), []
    if "spacings" not in header and ends is None:
        return None, notes
    by_ends = None if ends is None else [step * scale for step, scale in zip(ends, scales.axes, strict=True)]
    if "spacings" not in header:
        return _in_array_order(by_ends or []), notes
    pairs = zip(spatial, scales.axes, strict=True)
    steps = [float(header["spacings"][axis]) * scale for axis, scale in pairs]
    differ = by_ends is not None and not np.allclose(steps, by_ends, rtol=0.01)
    told = ["axis mins and axis maxs say another spacing than spacings, which was taken"] if differ else []
    return _in_array_order(steps), told


def _in_array_order(steps: list[float]) -> tuple[float, ...] | None:
    return (*([1.0] * (3 - len(steps))), *reversed(steps)) if len(steps) in (2, 3) else None

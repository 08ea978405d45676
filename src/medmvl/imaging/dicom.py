"""DICOM to MedicalImage: a single file, an enhanced multi-frame file, or a folder with series.

Read in order: dicom_values (tags), dicom_header (files), dicom_frames (images with places), dicom_series (what belongs
together), dicom_geometry (affine), dicom_decode (codecs), dicom_pixels (physical values).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import AmbiguousSourceError, Choice, ReadError, UserError
from medmvl.imaging.dicom_decode import PixelError
from medmvl.imaging.dicom_frames import Frame, frames_of
from medmvl.imaging.dicom_geometry import single_affine, stack_geometry
from medmvl.imaging.dicom_header import read_header, sniff_dicom
from medmvl.imaging.dicom_image_spacing import image_spacing
from medmvl.imaging.dicom_labels import names_of
from medmvl.imaging.dicom_meaning import PARAMETRIC_MAP, SECONDARY_CAPTURE
from medmvl.imaging.dicom_pixels import Values, is_colour, read_values
from medmvl.imaging.dicom_series import Series, choose, group_frames, set_aside
from medmvl.imaging.dicom_slides import assemble, place_of_tile
from medmvl.imaging.dicom_tags import ULTRASOUND_VOLUME
from medmvl.imaging.dicom_unplaced import SECTIONS, place_faults, stack_spacing, uneven
from medmvl.imaging.dicom_values import PARSER_ERRORS, tag_value
from medmvl.imaging.geometry import axcodes_of, orient_image, spacing_of, to_canonical
from medmvl.imaging.image import CANONICAL_VOLUME_AXES, MedicalImage
from medmvl.imaging.selector import Selector, pick
from medmvl.imaging.silence import silent_libraries
from medmvl.messages import first_of

__all__ = ["fixed_series", "read_dicom", "read_dicom_folder", "series_in", "sniff_dicom"]

MAX_FILES = 100_000
_BODY_DIRECTIONS = {"H": "S", "F": "I", "A": "A", "P": "P", "L": "L", "R": "R"}
_CANONICAL_COMPONENT = {"S": (2, 1), "P": (1, -1), "L": (0, -1)}


def read_dicom(path: Path, selector: Selector | None = None) -> MedicalImage:
    """Read one DICOM file, classic or enhanced.

    Raises:
        AmbiguousSourceError: it holds frames or several volumes; the message lists them.
        ReadError: it is damaged, holds no pixels, or its pixels cannot be decoded.
    """
    with silent_libraries(), _refusing():
        frames = frames_of(read_header(path))
        selector = selector or Selector()
        return _to_image(choose(group_frames(frames), selector, "file"), (), selector)


def read_dicom_folder(path: Path, selector: Selector | None = None) -> MedicalImage:
    """Read the series in a folder, searched with all its subfolders; scouts and non-images are set aside with a note.

    Raises:
        AmbiguousSourceError: several series are there; the message lists them.
        ReadError: there is no DICOM image, or a file is damaged.
    """
    with silent_libraries(), _naming_files(path), _refusing():
        frames, without_pixels = _folder_frames(path)
        if not frames:
            found = f"{without_pixels} DICOM objects without pixels" if without_pixels else "no DICOM file"
            raise ReadError(f"the folder holds {found}; expected the slices of a series")
        series, notes = set_aside(group_frames(frames))
        if without_pixels:
            notes = (*notes, f"{without_pixels} DICOM object(s) without pixels set aside")
        selector = selector or Selector()
        return _to_image(choose(series, selector, "folder"), notes, selector)


def series_in(path: Path) -> tuple[list[Series], list[tuple[Path, str]]]:
    """List what a DICOM file or folder holds, without decoding pixels where places tell slices apart.

    Returns:
        The series in the order that `#series=N` counts, scouts and screen captures set aside; and the
        files that are damaged, each with what is wrong. While there are any, a series of the folder
        cannot be read by its number.

    Raises:
        ReadError: slices lie at one place and nothing tells them apart.
    """
    frames: list[Frame] = []
    bad: list[tuple[Path, str]] = []
    with silent_libraries(), _naming_files(path):
        for file in [path] if path.is_file() else _dicom_files(path):
            try:
                with _refusing():
                    header = read_header(file)
                    if header.pixel_keyword is not None or header.value("Rows") is not None:
                        frames += frames_of(header)
            except ReadError as error:
                bad.append((file, str(error)))
        with _refusing():
            series = group_frames(frames)
            return (set_aside(series)[0] if path.is_dir() else series), bad


def fixed_series(
    path: Path,
    selector: Selector,
    find: Callable[[Path], tuple[list[Series], list[tuple[Path, str]]]] = series_in,
) -> Selector:
    """The same choice with the series named by its digest, where it was counted: one that comes later changes the count.

    Args:
        path: DICOM file or folder.
        selector: what was chosen of it.
        find: `series_in`, or one that remembers what it found.

    Raises:
        ReadError: there is no such series, or a file is damaged.
    """
    if not isinstance(selector.series, int):
        return selector
    series, damaged = find(path)
    for file, wrong in damaged:
        raise ReadError(f"file {file.relative_to(path) if path.is_dir() else file.name}: {wrong}")
    digest = series[pick(selector.series, len(series), "series")].digest
    is_alone = sum(one.digest == digest for one in series) == 1
    return replace(selector, series=digest) if is_alone else selector


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn whatever a parser raises about a file's contents into a refusal; its words may quote values."""
    try:
        yield
    except (UserError, PermissionError, FileNotFoundError):
        raise
    except PARSER_ERRORS as error:
        raise ReadError(
            f"the DICOM header contradicts itself ({type(error).__name__}): it cannot be understood"
        ) from None


@contextmanager
def _naming_files(folder: Path) -> Iterator[None]:
    """Say which file of a folder has the pixels that cannot be decoded."""
    try:
        yield
    except PixelError as error:
        if error.file is None or error.file == folder:
            raise
        raise ReadError(f"file {error.file.relative_to(folder)}: {error}") from None


def _folder_frames(folder: Path) -> tuple[list[Frame], int]:
    """Return the frames of every image below a folder, and the number of DICOM objects that are not images."""
    frames: list[Frame] = []
    without_pixels = 0
    for path in _dicom_files(folder):
        try:
            with _refusing():
                file = read_header(path)
                if file.pixel_keyword is None and file.value("Rows") is None:
                    without_pixels += 1
                else:
                    frames += frames_of(file)
        except ReadError as error:
            raise ReadError(f"file {path.relative_to(folder)}: {error}") from None
    return frames, without_pixels


def _dicom_files(folder: Path) -> Iterable[Path]:
    """Yield the DICOM files below a folder in a stable order, looking at their first bytes only; no links are followed."""
    looked_at = 0
    for here, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            looked_at += 1
            if looked_at > MAX_FILES:
                raise ReadError(f"the folder holds more than {MAX_FILES} files: name the folder of one study")
            file = Path(here) / name
            if not name.upper().startswith("DICOMDIR") and _is_dicom(file):
                yield file


def _is_dicom(file: Path) -> bool:
    try:
        if not S_ISREG(file.stat().st_mode):
            return False
        with file.open("rb") as stream:
            return sniff_dicom(stream.read(144), file)
    except OSError:
        return False


def _to_image(series: Series, notes: tuple[str, ...], selector: Selector) -> MedicalImage:
    values = read_values(series.frames)
    if series.series_type in ("volume", "stack"):
        _refuse_colour(values, selector)
    assumed = dict.fromkeys(note for frame in series.frames for note in frame.notes)
    notes = (
        *notes,
        *series.warnings,
        *values.warnings,
        *assumed,
        *_left_of_object(series),
        *_burned_in(series),
    )
    if series.series_type == "volume":
        return _to_volume(series, values, notes)
    if series.series_type == "stack":
        return _to_stack(series, values, notes)
    if series.series_type == "slide":
        whole, more = assemble(series.frames, values.array)
        return _to_plane(series.frames[0], values._replace(array=whole[np.newaxis]), (*notes, *more))
    return _to_plane(series.frames[0], values, (*notes, *place_of_tile(series.frames[0])))


def _refuse_colour(values: Values, selector: Selector) -> None:
    if values.array.ndim == 4:
        count = len(values.array)
        raise AmbiguousSourceError(
            f"a stack of {count} colour slices is no volume of values",
            Choice("frame", count, already=str(selector)),
        )


def _to_stack(series: Series, values: Values, notes: tuple[str, ...]) -> MedicalImage:
    """Return slices whose place is unknown, in the order they were given; nothing is invented."""
    return MedicalImage(
        array=np.ascontiguousarray(values.array),
        kind="volume",
        units=values.units,
        source_format="dicom",
        spacing_mm=stack_spacing(series.frames),
        modality=series.frames[0].file.modality,
        warnings=(*notes, *uneven(series.frames)),
        label_names=names_of(series.frames[0]),
    )


def _to_volume(series: Series, values: Values, notes: tuple[str, ...]) -> MedicalImage:
    stack = stack_geometry(series.frames)
    if series.frames[0].file.text("SOPClassUID") == ULTRASOUND_VOLUME:
        note = "it lies in the frame of reference of its transducer: which sides of the patient its axes show is unknown"
        return MedicalImage(
            array=values.array,
            kind="volume",
            units=values.units,
            source_format="dicom",
            spacing_mm=spacing_of(stack.affine),
            modality=series.frames[0].file.modality,
            warnings=(*notes, *stack.warnings, note),
        )
    array, affine, acquired = to_canonical(values.array, stack.affine)
    return MedicalImage(
        array=array,
        kind="volume",
        units=values.units,
        source_format="dicom",
        affine=affine,
        axcodes=CANONICAL_VOLUME_AXES,
        acquired_axcodes=acquired,
        spacing_mm=spacing_of(affine),
        modality=series.frames[0].file.modality,
        warnings=(*notes, *stack.warnings),
        label_names=names_of(series.frames[0]),
        slice_positions_mm=None
        if stack.positions is None
        else _canonical_positions(stack.positions, affine, acquired),
    )


def _canonical_positions(
    places: NDArray[np.float64], affine: NDArray[np.float64], acquired: tuple[str, ...]
) -> tuple[float, ...]:
    """Return where each slice lies along the body axis of the stack, growing as the canonical array does."""
    code = next(
        code
        for code in CANONICAL_VOLUME_AXES
        if code in (acquired[0], {"I": "S", "A": "P", "R": "L"}.get(acquired[0]))
    )
    component, sign = _CANONICAL_COMPONENT[code]
    along = np.sort(sign * places[:, component])
    start = sign * affine[component, 3]
    return tuple(float(start + place - along[0]) for place in along)


def _to_plane(frame: Frame, values: Values, notes: tuple[str, ...]) -> MedicalImage:
    array: NDArray[Any] = values.array[0]
    modality = frame.file.modality
    image = partial(
        MedicalImage,
        kind="image",
        units=values.units,
        source_format="dicom",
        modality=modality,
        label_names=names_of(frame),
    )
    of_patient = frame.file.text("SOPClassUID") != ULTRASOUND_VOLUME
    if frame.placed and of_patient and frame.file.value("PhotometricInterpretation") is not None:
        affine = single_affine(frame)
        codes = axcodes_of(affine)[1:]
        turned, matrix, wanted = orient_image(array, codes)
        affine = affine @ matrix
        return image(
            array=turned,
            affine=affine,
            axcodes=wanted,
            acquired_axcodes=codes,
            spacing_mm=spacing_of(affine)[1:],
            warnings=notes,
        )
    if modality in SECTIONS and (faults := place_faults(frame)):
        lacking = f"the slice has {' and '.join(faults)}: where it lies, or its size, is not known"
        notes = (*notes, lacking)
    spacing, spacing_note = image_spacing(frame)
    known = _patient_orientation(frame)
    turned, swapped = array, False
    shown: tuple[str, ...] | None = known
    if known is not None and modality != "MG" and {"S", "I"} & set(known):
        turned, matrix, shown = orient_image(array, known)
        swapped = matrix[1, 1] == 0
    return image(
        array=np.ascontiguousarray(turned),
        axcodes=shown,
        acquired_axcodes=known,
        warnings=(*notes, *spacing_note),
        spacing_mm=spacing[::-1] if spacing is not None and swapped else spacing,
    )


def _patient_orientation(frame: Frame) -> tuple[str, str] | None:
    """Return the directions in which rows (downwards) and columns grow, from Patient Orientation, or None."""
    found = tag_value(frame.file.header, "PatientOrientation")
    if found is None or isinstance(found, str) or len(found) != 2:
        return None
    codes = [str(code).strip().upper() for code in found]
    animal = frame.file.text("AnatomicalOrientationType").upper() == "QUADRUPED"
    if animal or any(set(code) - set(_BODY_DIRECTIONS) for code in codes):
        return None  # LE, PR, D and others name sides of animals (PS3.3 C.7.6.1.1.1)
    columns, rows = (_BODY_DIRECTIONS.get(code[:1]) for code in codes)
    pairs = ("LR", "AP", "SI")
    if rows is None or columns is None or any(rows in pair and columns in pair for pair in pairs):
        return None
    return rows, columns


def _left_of_object(series: Series) -> tuple[str, ...]:
    """Warn where parts are missing of an object that its writer cut into several files (a concatenation, PS3.3 C.7.6.16)."""
    parts = {frame.file.integer("InConcatenationNumber") for frame in series.frames} - {0}
    total = max([*parts, *(frame.file.integer("InConcatenationTotalNumber") for frame in series.frames)])
    missing = [str(part) for part in range(1, total + 1) if part not in parts]
    if not parts or not missing:
        return ()
    return (
        f"of the {total} files that hold this object, no. {first_of(missing, separator=', ')} are not here: slices are missing",
    )


def _burned_in(series: Series) -> tuple[str, ...]:
    file = series.frames[0].file
    if str(file.value("BurnedInAnnotation") or "").strip().upper() == "YES":
        return ("the file says that text is burned into the pixels: it may name the patient",)
    if file.text("SOPClassUID") == PARAMETRIC_MAP:
        return ()
    secondary = file.text("SOPClassUID").startswith(SECONDARY_CAPTURE)
    if file.modality in ("US", "IVUS", "SC", "OT", "ES", "XC", "GM") or secondary or is_colour(file):
        return ("images of this kind often have text burned into the pixels: it may name the patient",)
    return ()

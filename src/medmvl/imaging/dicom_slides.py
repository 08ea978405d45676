"""Whole slides: the tiles of one level, put together where that fits, else one by one with their places (PS3.3 A.32.8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import ReadError
from medmvl.imaging.dicom_frames import Frame
from medmvl.imaging.dicom_header import DicomFile
from medmvl.imaging.dicom_tags import SEGMENTATIONS
from medmvl.imaging.limits import check_size

MAX_PIXELS = 2**26
"""Pixels of a level that is put together: 8192 x 8192. Larger ones are read tile by tile."""
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"


def is_slide(file: DicomFile) -> bool:
    """Whether a file holds tiles of a larger image."""
    return file.value("TotalPixelMatrixRows") is not None


def is_slide_label(file: DicomFile) -> bool:
    """Whether a file is the photograph of a slide's label, or of the whole slide with it: they name the patient."""
    terms = file.value("ImageType")
    named = () if terms is None or isinstance(terms, str) else tuple(terms)
    return file.text("SOPClassUID") == WHOLE_SLIDE and bool({"LABEL", "OVERVIEW"} & set(named))


def fits_in_one(frames: Sequence[Frame]) -> bool:
    """Whether tiles are those of one level that may be put together."""
    file = frames[0].file
    if not is_slide(file) or any(frame.corner is None for frame in frames):
        return False
    size = file.integer("TotalPixelMatrixRows"), file.integer("TotalPixelMatrixColumns")
    corners = [frame.corner for frame in frames]
    return 0 < size[0] * size[1] <= MAX_PIXELS and len(set(corners)) == len(corners)


def assemble(frames: Sequence[Frame], tiles: NDArray[Any]) -> tuple[NDArray[Any], tuple[str, ...]]:
    """Put the tiles of one level together.

    Args:
        frames: the tiles.
        tiles: `(tiles, rows, columns[, 3])`.

    Returns:
        The image, white where the slide has no tile, and a warning about such places; a segmentation holds nothing there.
    """
    file = frames[0].file
    size = file.integer("TotalPixelMatrixRows"), file.integer("TotalPixelMatrixColumns")
    check_size((*size, *tiles.shape[3:]), tiles.dtype.itemsize)
    labels = file.text("SOPClassUID") in SEGMENTATIONS
    blank = 255 if tiles.dtype == np.uint8 and not labels else 0
    whole = np.full((*size, *tiles.shape[3:]), blank, tiles.dtype)
    covered = np.zeros(size, bool)
    for frame, tile in zip(frames, tiles, strict=True):
        assert frame.corner is not None
        row, column = frame.corner
        rows, columns = min(tile.shape[0], size[0] - row), min(tile.shape[1], size[1] - column)
        if row < 0 or column < 0 or rows < 1 or columns < 1:
            raise ReadError("a tile lies outside the slide")
        whole[row : row + rows, column : column + columns] = tile[:rows, :columns]
        covered[row : row + rows, column : column + columns] = True
    share = 0.0 if labels else 1 - float(covered.mean())
    return whole, (f"{100 * share:.0f} % of the slide have no tile and are blank",) if share else ()


def place_of_tile(frame: Frame) -> tuple[str, ...]:
    """Say where one tile lies in its slide."""
    if frame.corner is None:
        return ()
    file, (row, column), (rows, columns) = frame.file, frame.corner, frame.shape
    whole = f"{file.integer('TotalPixelMatrixRows')} x {file.integer('TotalPixelMatrixColumns')}"
    return (
        f"one tile: rows {row} to {row + rows - 1}, columns {column} to {column + columns - 1} of a slide of {whole}",
    )

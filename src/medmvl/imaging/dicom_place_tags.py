"""The tags that say where an image lies, and what is wrong with one that does not say it."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


class Place(NamedTuple):
    """A tag that says where an image lies."""

    name: str
    """Name in the standard, for messages."""
    group: str
    """Functional group of an enhanced object."""
    keyword: str
    num_values: int
    """Numbers that it must hold."""


POSITION = Place("Image Position (Patient)", "PlanePositionSequence", "ImagePositionPatient", 3)
ORIENTATION = Place("Image Orientation (Patient)", "PlaneOrientationSequence", "ImageOrientationPatient", 6)
SPACING = Place("Pixel Spacing", "PixelMeasuresSequence", "PixelSpacing", 2)
SKEW = 0.05
"""Largest error of two directions in their length, and in the cosine between them."""


@lru_cache(maxsize=256)
def unit_directions(orientation: tuple[float, ...]) -> Vector | None:
    """Return two directions made exactly one long; None where they are far from that, or from perpendicular."""
    directions = np.array(orientation).reshape(2, 3)
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    if (np.abs(lengths - 1) > SKEW).any() or abs(directions[0] @ directions[1]) > SKEW:
        return None
    unit = np.asarray(directions / lengths, dtype=np.float64)
    unit.setflags(write=False)  # shared by all frames that say the same
    return unit


def fault(place: Place, numbers: tuple[float, ...]) -> str:
    """Return `no TAG`, or what is wrong with the numbers that a tag holds."""
    if not numbers:
        return f"no {place.name}"
    if len(numbers) != place.num_values:
        return f"a wrong {place.name} ({len(numbers)} numbers instead of {place.num_values})"
    if not all(abs(number) < 1e30 for number in numbers):
        return f"a wrong {place.name} (a value is not finite)"
    if place is not ORIENTATION:
        return f"a wrong {place.name} ({', '.join(f'{number:.4g}' for number in numbers)} mm)"
    columns, rows = np.array(numbers).reshape(2, 3)
    lengths = float(np.linalg.norm(columns)), float(np.linalg.norm(rows))
    if any(abs(length - 1) > SKEW for length in lengths):
        return f"a wrong {place.name} (vectors of length {lengths[0]:.3g} and {lengths[1]:.3g} instead of 1)"
    angle = np.degrees(np.arccos(np.clip(columns @ rows / (lengths[0] * lengths[1]), -1, 1)))
    return f"a wrong {place.name} (vectors at {angle:.0f} degrees instead of 90)"

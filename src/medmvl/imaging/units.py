"""Names of units a user may declare: a closed list, compared without regard to case."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import ReadError

UNITS: dict[str, str] = {
    "HU": "Hounsfield units",
    "BQML": "becquerel per millilitre",
    "GML": "gram per millilitre, which PET calls SUV by body weight",
    "CNTS": "counts",
    "CPS": "counts per second",
    "PCNT": "per cent",
    "GY": "gray",
    "label": "numbers of classes, never interpolated",
    "fraction": "shares of 1",
    "display": "brightness as shown, 8-bit images",
    "arbitrary": "numbers without a unit, such as MR",
}
"""What can be declared. A DICOM file may say others itself."""
CT_MODALITIES = ("CT", "OT")
"""Modalities whose values may be Hounsfield units; OT is what converters write."""
_NOT_HOUNSFIELD_ABOVE = -200
_OFFSET = 32768
_NAMES = {name.lower(): name for name in UNITS} | {
    "hounsfield": "HU",
    "bq/ml": "BQML",
    "g/ml": "GML",
    "suv": "GML",
}


def known_units(said: str) -> str:
    """Return the name of the list, such as "HU" for "Hu".

    Raises:
        ReadError: for anything else, with the list.
    """
    found = _NAMES.get(said.strip().lower())
    if found is None:
        listed = ", ".join(f"{name} ({meaning})" for name, meaning in UNITS.items())
        raise ReadError(f"units {said!r} are not known; expected one of: {listed}")
    return found


def offset_hint(array: NDArray[Any], kind: str) -> str:
    """Say where a CT image seems to be stored as HU + 32768, as the PNG files of DeepLesion are; else return nothing."""
    middle = float(np.median(array)) if kind == "image" and array.dtype == np.uint16 else 0.0
    if not (_OFFSET - 3500 < middle < _OFFSET + 3500 and float(array.max()) < _OFFSET + 20000):
        return ""
    return f"; the values lie around {_OFFSET}: if it is of DeepLesion, Hounsfield units are the value minus {_OFFSET}"


def hounsfield_doubts(array: NDArray[Any], kind: str, said: str = "declared as") -> list[str]:
    """Return a warning where values can hardly be the Hounsfield units that they are said to be."""
    low, high = float(array.min()), float(array.max())
    if kind == "image" and low >= 0 and array.dtype.kind == "u":
        return [
            f"{said} HU, but the image holds only positive numbers ({low:g} to {high:g}): a CT saved as an image has "
            "lost its offset or its window; use the DICOM or NIfTI it was made from"
            + offset_hint(array, kind)
        ]
    if low > _NOT_HOUNSFIELD_ABOVE or low < -33000 or high > 66000:
        return [f"{said} HU, but the values run from {low:g} to {high:g}: no air, or beyond what CT measures"]
    return []

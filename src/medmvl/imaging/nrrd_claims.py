"""What an NRRD header says besides its voxels and its space: the unit of the values, and lengths by the ends of an axis.

Format: https://teem.sourceforge.net/nrrd/format.html, `sample units`, `axis mins`, `axis maxs` and `centers`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medmvl.errors import ReadError
from medmvl.imaging.lengths import UNSAID
from medmvl.imaging.nrrd_pixels import NrrdHeader
from medmvl.imaging.units import known_units

_ENDS = "axis mins", "axis maxs"
_SHOWN = 40


def value_units(header: NrrdHeader) -> tuple[str, list[str]]:
    """Return the units of the values by `sample units`, and a warning where they are none of the known ones."""
    said = str(header.get("sample units", "")).strip().strip('"').strip()
    if said.lower() in UNSAID:
        return "arbitrary", []
    plain = said.lower().removesuffix("units").removesuffix("unit").strip()
    try:
        return known_units(plain), []
    except ReadError:
        shown = "".join(c for c in said if c.isprintable())[:_SHOWN]
        return "arbitrary", [
            f"the header's sample units are {shown!r}, which are none of the known units: the values are as stored"
        ]


def steps_between_ends(header: NrrdHeader, axes: Sequence[int]) -> tuple[list[float] | None, list[str]]:
    """Return the step along each axis that `axis mins` and `axis maxs` make, in the header's unit, and warnings.

    Without `centers` samples lie in the middle of cells, which is Teem's default.
    """
    there = [name for name in _ENDS if name in header]
    if not there:
        return None, []
    ends = [np.asarray(header.get(name, []), dtype=np.float64) for name in _ENDS]
    centers = str(header.get("centers", "")).split()
    steps = []
    for axis in axes:
        if any(axis >= len(end) for end in ends):
            break
        node = axis < len(centers) and centers[axis].lower() == "node"
        cells = int(header["sizes"][axis]) - int(node)
        steps.append(float(ends[1][axis] - ends[0][axis]) / max(cells, 1))
    if len(steps) < len(axes) or not all(np.isfinite(step) and step > 0 for step in steps):
        return None, [
            f"{' and '.join(there)} of the header give no lengths: an end is missing, or the axes do not grow"
        ]
    told = all(axis < len(centers) and centers[axis].lower() in ("cell", "node") for axis in axes)
    if told:
        return steps, []
    return steps, [
        "the spacing is by axis mins and axis maxs without centers: the ends were taken as those of cells, not of their middles"
    ]

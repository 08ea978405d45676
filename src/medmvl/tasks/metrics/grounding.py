"""Grounding: how far two boxes overlap, in 2D and 3D, and how boxes are read from text, by a table of formats.

Boxes here are half-open corner pairs in array order, `(y0, x0, y1, x1)` or `(z0, y0, x0, z1, y1, x1)`, in any unit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from medmvl.errors import UserError

Corners = tuple[float, ...]
NUMBER = r"\s*(\d+(?:\.\d+)?)\s*"


@dataclass(frozen=True)
class BoxFormat:
    """One way to write a box: both corners, x before y before z in the text unless it says otherwise."""

    pattern: re.Pattern[str]
    scale: float
    """Number that the far edge of the image is written as."""
    rows_first: bool = False
    """True where y is before x."""


BOX_FORMATS: dict[str, BoxFormat] = {
    # Uni-Med and MiniGPT-v2: {<x1><y1><x2><y2>}, integers 0 to 100; spaces may be anywhere
    "uni-med": BoxFormat(re.compile(r"\{" + r"\s*<\s*(\d{1,3})\s*>\s*" * 4 + r"\}"), 100.0),
    # M3D: [x1, y1, z1, x2, y2, z2], 0 to 1
    "m3d": BoxFormat(re.compile(r"\[" + ",".join([NUMBER] * 6) + r"\]"), 1.0),
    # [x1, y1, x2, y2], 0 to 1, in square or round brackets
    "unit": BoxFormat(re.compile(r"[\[(]" + ",".join([r"\s*([01]?\.\d+|[01])\s*"] * 4) + r"[\])]"), 1.0),
    # Qwen-VL and Qwen2-VL: (x1,y1),(x2,y2), and InternVL: <box>[[x1, y1, x2, y2]]</box>, integers 0 to 1000
    "qwen-vl": BoxFormat(
        re.compile(r"\(\s*(\d+)\s*,\s*(\d+)\s*\)\s*,\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)"), 1000.0
    ),
    "internvl": BoxFormat(re.compile(r"\[\[" + ",".join([r"\s*(\d+)\s*"] * 4) + r"\]\]\s*</box>"), 1000.0),
    # PaliGemma: four of 1,024 places, y first; Florence-2: four of 1,000, x first
    "paligemma": BoxFormat(re.compile(r"<loc(\d{4})>" * 4), 1024.0, rows_first=True),
    "florence-2": BoxFormat(re.compile(r"<loc_(\d{1,3})>" * 4), 1000.0),
}
_ONE = r"\s*-?\d+(?:\.\d+)?\s*"
_NUMBERS = re.compile(rf"\[({_ONE}(?:,{_ONE}){{3}}(?:,{_ONE},{_ONE})?)\]")
"""Four or six numbers in brackets: a box, in whatever unit."""


def parse_box(text: str, format: str) -> Corners | None:
    """The first box in a text as shares of the image (0 to 1), in array order; None where there is none.

    A box without an inside, or one that leaves the image, is no box.

    Raises:
        UserError: the format is unknown.
    """
    if format not in BOX_FORMATS:
        raise UserError(f"no box format '{format}'; known formats: {', '.join(BOX_FORMATS)}")
    rule = BOX_FORMATS[format]
    match = rule.pattern.search(text)
    return None if match is None else _corners(match, rule)


def find_box(text: str) -> Corners | None:
    """The first box in any known format, with sides as shares of the image."""
    for name in BOX_FORMATS:
        box = parse_box(text, name)
        if box is not None:
            return box
    return None


def find_boxes(text: str) -> list[Corners]:
    """Every box of a text in any known format, in the order of the text, with sides as shares of the image."""
    found = [
        (match.start(), box)
        for rule in BOX_FORMATS.values()
        for match in rule.pattern.finditer(text)
        if (box := _corners(match, rule)) is not None
    ]
    return [box for _, box in sorted(found)]


def unsettled_box(text: str) -> bool:
    """Whether a text has numbers like those of a box, above 1 and in no known format: pixels, perhaps, as of Qwen2.5-VL."""
    found = _NUMBERS.search(text)
    return found is not None and find_box(text) is None and max(map(float, found[1].split(","))) > 1


def _corners(match: re.Match[str], rule: BoxFormat) -> Corners | None:
    numbers = [float(number) / rule.scale for number in match.groups()]
    half, step = len(numbers) // 2, 1 if rule.rows_first else -1
    lower, upper = numbers[:half][::step], numbers[half:][::step]
    fits = all(0 <= low < high <= 1 for low, high in zip(lower, upper, strict=True))
    return (*lower, *upper) if fits else None


def iou(box: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over the true union of two boxes of one dimensionality; 0 where they do not meet.

    Raises:
        UserError: a 2D box is compared with a 3D one.
    """
    if len(box) != len(other):
        raise UserError(f"a box of {len(box)} numbers cannot be compared with one of {len(other)}")
    half = len(box) // 2
    shared = 1.0
    for axis in range(half):
        low, high = max(box[axis], other[axis]), min(box[half + axis], other[half + axis])
        shared *= max(0.0, high - low)
    union = _size(box) + _size(other) - shared
    return shared / union if union > 0 else 0.0


def _size(box: Sequence[float]) -> float:
    half = len(box) // 2
    size = 1.0
    for axis in range(half):
        size *= max(0.0, box[half + axis] - box[axis])
    return size

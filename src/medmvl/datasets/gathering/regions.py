"""Boxes as two tasks: where is it (refer), and what is there (identify), in the words of Uni-Med.

Boxes of a sample are half-open voxels, rows first. In text they are Uni-Med's `{<x1><y1><x2><y2>}`, whole
numbers from 0 to 100 (`uni_med/datasets/datasets/slake_dataset.py` of github.com/MSIIP/Uni-Med).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import question
from medmvl.errors import UserError
from medmvl.json_types import JsonValue
from medmvl.schema import Box, ImageBlock

Rows = tuple[int, int, int, int]
REFER = "[refer] give me the location of {label}"
IDENTIFY = "[identify] what object is in this location {box}"


@dataclass(frozen=True)
class Region:
    """A named box."""

    label: str
    box: Rows


def half_open(box: JsonValue, size: tuple[int, int]) -> Rows:
    """Turn `[x, y, width, height]` in pixels into `(y0, x0, y1, x1)` within the image.

    Args:
        box: four numbers.
        size: height and width of the image.

    Raises:
        UserError: where it is no box, or lies outside.
    """
    try:
        x, y, width, height = (float(value) for value in box)
    except (TypeError, ValueError):
        raise UserError(f"expected a box as [x, y, width, height], found {box!r}") from None
    rows = (
        max(0, math.floor(y)), max(0, math.floor(x)),
        min(size[0], math.ceil(y + height)), min(size[1], math.ceil(x + width)),
    )  # fmt: skip
    if rows[2] <= rows[0] or rows[3] <= rows[1]:
        raise UserError(f"the box {box!r} has no inside in an image of {size[0]} x {size[1]}")
    return rows


def unimed_text(box: Rows, size: tuple[int, int]) -> str:
    """Write a box as Uni-Med does: `{<x1><y1><x2><y2>}`, parts of a hundred of width and height, cut off.

    A box thinner than a part is written one part wide, so that the text always holds a box.
    """
    y0, x0, y1, x1 = box
    height, width = size
    left, top = x0 * 100 // width, y0 * 100 // height
    values = (left, top, max(left + 1, x1 * 100 // width), max(top + 1, y1 * 100 // height))
    return "{" + "".join(f"<{value}>" for value in values) + "}"


def add_regions(
    found: Collection,
    prefix: str,
    image: str,
    regions: Sequence[Region],
    split: str | None,
    **identity: Any,
) -> None:
    """Take a `refer` and an `identify` sample of each region; what an image has twice is not asked for by name."""
    counts = Counter(region.label for region in regions)
    size = found.size(image)
    for number, region in enumerate(regions):
        text = unimed_text(region.box, size)
        shared = {**identity, "boxes": (Box(coordinates=region.box, label=region.label),)}
        block = ImageBlock(image=image)
        found.add(
            question(
                f"{prefix}-identify-{number}",
                [block],
                IDENTIFY.format(box=text),
                region.label,
                question_type="identify",
                **shared,
            ),
            split,
        )
        if counts[region.label] > 1:
            found.note("regions not asked for by name, because the image has several of that name")
            continue
        found.add(
            question(
                f"{prefix}-refer-{number}",
                [block],
                REFER.format(label=region.label),
                text,
                question_type="refer",
                **shared,
            ),
            split,
        )

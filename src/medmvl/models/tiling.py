"""How an image or a scan is divided for the model: grids of tiles, sizes of native aspect, crops of the body.

Pure geometry: numbers in, numbers out; what a visual becomes is known from its shape (crops: from its body) alone.
"""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]
Shape = tuple[int, int, int]


def best_grid(height: int, width: int, tile: Size, max_tiles: int) -> Size:
    """Rows and columns of tiles for an image: LLaVA-NeXT's rule over all grids of at most `max_tiles` tiles.

    Among the grids that keep most of the image's pixels, when it is fitted into them without changing its aspect ratio,
    the one with the least empty area (arXiv 2310.03744; `select_best_resolution`). An image that fits one tile gets one.
    """
    best, chosen = (-1, 0), (1, 1)
    for rows in range(1, max_tiles + 1):
        for columns in range(1, max_tiles // rows + 1):
            canvas = (rows * tile[0], columns * tile[1])
            scale = min(canvas[0] / height, canvas[1] / width)
            kept = min(int(width * scale) * int(height * scale), width * height)
            score = (kept, kept - canvas[0] * canvas[1])
            if score > best:
                best, chosen = score, (rows, columns)
    return chosen


def fitted_size(height: int, width: int, canvas: Size) -> Size:
    """The largest size of an image on a canvas that keeps its aspect ratio; fractions are rounded up."""
    scale_height, scale_width = canvas[0] / height, canvas[1] / width
    if scale_width < scale_height:
        return min(math.ceil(height * scale_width), canvas[0]), canvas[1]
    return canvas[0], min(math.ceil(width * scale_height), canvas[1])


def native_size(height: int, width: int, limit: Size, multiple: int) -> Size:
    """The size of an image in whole multiples whose area is at most that of `limit`, its aspect ratio nearly kept.

    It is never enlarged, but to fill a multiple. Each side differs from an exact one by less than a multiple.
    """
    cells = (limit[0] // multiple) * (limit[1] // multiple)
    scale = min(1.0, math.sqrt(cells * multiple**2 / (height * width)))
    exact = (height * scale / multiple, width * scale / multiple)
    rows, columns = ({max(1, math.floor(n)), max(1, math.ceil(n))} for n in exact)
    fitting = [pair for pair in product(rows, columns) if pair[0] * pair[1] <= cells]
    if not fitting:  # very long: one multiple wide, and as long as there is room
        row, column = min(rows), min(columns)
        fitting = [(1, min(column, cells))] if row == 1 else [(min(row, cells), 1)]
    best = min(
        fitting,
        key=lambda pair: (abs(math.log(pair[0] * exact[1] / (pair[1] * exact[0]))), -pair[0] * pair[1]),
    )
    return best[0] * multiple, best[1] * multiple


def largest_sizes(limit: Size, multiple: int) -> list[Size]:
    """The largest sizes that `native_size` may give, none larger than another, and the smallest one."""
    cells = (limit[0] // multiple) * (limit[1] // multiple)
    widest = {cells // rows: rows for rows in range(1, cells + 1)}  # for each width the greatest height
    return [(multiple, multiple), *((rows * multiple, width * multiple) for width, rows in widest.items())]


def box_of(mask: NDArray[np.bool_], share: float = 0.01) -> tuple[Shape, Shape]:
    """First index and end, along each axis, of the planes with more than a `share` of True; all where there are none."""
    low, high = [], []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        planes = np.flatnonzero(mask.mean(axis=others) > share)
        low.append(int(planes[0]) if len(planes) else 0)
        high.append(int(planes[-1]) + 1 if len(planes) else mask.shape[axis])
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def crop_starts(
    shape: Shape, box: tuple[Shape, Shape], crop: Shape, max_crops: int
) -> tuple[list[Shape], float]:
    """Where the crops of a scan begin: a regular grid over the box of the body.

    Among grids of at most `max_crops` crops it is the one that covers most of the box, then the one with the fewest. Crops
    overlap evenly where they have more room than they need. A start is negative where the scan is smaller than a crop.

    Returns:
        The starts in the order depth, height, width, and the share of the box that is covered.
    """
    lengths = [end - begin for begin, end in zip(*box, strict=True)]
    needed = [-(-length // size) for length, size in zip(lengths, crop, strict=True)]

    def covered(grid: tuple[int, ...]) -> float:
        return math.prod(
            min(1.0, count * size / length) for count, size, length in zip(grid, crop, lengths, strict=True)
        )

    grids = product(*(range(1, min(count, max_crops) + 1) for count in needed))
    grid = max(
        (grid for grid in grids if math.prod(grid) <= max_crops),
        key=lambda grid: (covered(grid), -math.prod(grid)),
    )
    axes = [_starts(*along) for along in zip(shape, box[0], box[1], crop, grid, strict=True)]
    return [(d, h, w) for d in axes[0] for h in axes[1] for w in axes[2]], covered(grid)


def _starts(length: int, begin: int, end: int, size: int, count: int) -> list[int]:
    """`count` starts along one axis: the first crop at the box's begin, the last at its end, one in its middle."""
    if length <= size:
        return [(length - size) // 2]
    if count == 1:
        exact = np.array([(begin + end - size) / 2])
    elif count * size <= end - begin:  # they do not cover it: equal gaps
        exact = begin + (np.arange(count) + 0.5) * (end - begin) / count - size / 2
    else:
        exact = np.linspace(begin, end - size, count)
    return [int(start) for start in np.clip(np.floor(exact), 0, length - size)]


def cut(array: NDArray[Any], start: Shape, size: Shape, fill: float) -> NDArray[np.float32]:
    """The block of `size` that begins at `start`; what lies outside the array is filled."""
    result = np.full(size, fill, np.float32)
    source = tuple(
        slice(max(s, 0), min(s + n, length)) for s, n, length in zip(start, size, array.shape, strict=True)
    )
    target = tuple(slice(part.start - s, part.stop - s) for part, s in zip(source, start, strict=True))
    result[target] = array[source]
    return result

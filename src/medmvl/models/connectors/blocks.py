"""Blocks of neighbouring tokens on the grid: what pooling, pixel shuffle and convolutions share."""

from __future__ import annotations

import math

from torch import Tensor

from medmvl.errors import RecipeError
from medmvl.models.features import Grid


def check_factors(name: str, factors: Grid, grid: Grid, remedy: str = "choose factors that do") -> None:
    """Raises RecipeError, with the reason, where blocks of `factors` tokens do not fill the grid."""
    if all(n % k == 0 for n, k in zip(grid, factors, strict=True)):
        return
    reason = ""
    if grid[:2] == (1, 1) and grid[2] > 1:
        reason = (
            " Such a row of tokens is what an encoder gives with its class token; select: patch gives a grid."
        )
    elif grid[0] == 1 and factors[0] > 1:
        reason = " Images have depth 1: their first factor is 1."
    raise RecipeError(
        f"connector {name!r}: factors {factors} do not divide the grid {grid} of tokens (depth, height, "
        f"width); {remedy}.{reason}"
    )


def coarser(grid: Grid, factors: Grid) -> Grid:
    """The grid of blocks; a block at the end of an axis may be smaller."""
    depth, height, width = (math.ceil(n / k) for n, k in zip(grid, factors, strict=True))
    return (depth, height, width)


def space_to_depth(tokens: Tensor, grid: Grid, factors: Grid) -> Tensor:
    """Tokens `(batch, d * h * w, width)` to blocks `(batch, blocks, block size * width)`.

    Blocks are in the order of the grid; inside a block its tokens come one after the other, width fastest.
    """
    (depth, height, across), (f_d, f_h, f_w) = coarser(grid, factors), factors
    cells = tokens.reshape(len(tokens), depth, f_d, height, f_h, across, f_w, -1)
    return cells.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(len(tokens), depth * height * across, -1)

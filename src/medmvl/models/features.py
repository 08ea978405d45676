"""What an encoder hands to a connector: tokens on a known grid, possibly in several streams."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

Grid = tuple[int, int, int]
"""Tokens along depth, height and width. An image has depth 1; tokens without layout are `(1, 1, n)`."""


@dataclass(frozen=True)
class VisualFeatures:
    """Encoded images or volumes of one shape."""

    streams: tuple[Tensor, ...]
    """Each `(batch, d * h * w, width_i)`, ordered depth, height, width of its grid."""
    grid: Grid
    """Grid of the first stream, and of the others unless `grids` says more."""
    mask: Tensor | None = None
    """`(batch, d * h * w)`, True where a token is real; None where all are."""
    positions_mm: Tensor | None = None
    """`(batch, d)`: where each layer of the grid lies along the slice axis; None where unknown."""

    grids: tuple[Grid, ...] = ()
    """One a stream, where an encoder gives coarse and fine ones; empty where all have `grid`."""

    def __post_init__(self) -> None:
        assert not self.grids or self.grids[0] == self.grid, (self.grid, self.grids)
        for stream, grid in zip(self.streams, self.stream_grids, strict=True):
            assert stream.ndim == 3 and stream.shape[1] == math.prod(grid), (stream.shape, grid)

    def pick(self, first: int, count: int) -> VisualFeatures:
        """The features of `count` images or volumes of the batch."""
        chosen = slice(first, first + count)
        return VisualFeatures(
            tuple(stream[chosen] for stream in self.streams),
            self.grid,
            None if self.mask is None else self.mask[chosen],
            None if self.positions_mm is None else self.positions_mm[chosen],
            self.grids,
        )

    @property
    def stream_grids(self) -> tuple[Grid, ...]:
        """The grid of every stream."""
        return self.grids or (self.grid,) * len(self.streams)

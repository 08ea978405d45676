"""What an encoder hands to a connector: tokens on a known grid, possibly in several streams."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import torch
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
    """One per stream, where an encoder gives coarse and fine ones; empty where all have `grid`."""
    connected: bool = False
    """True where the connector has been applied: the only stream then holds visual tokens of the LLM's width."""

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
            self.connected,
        )

    @classmethod
    def join(cls, parts: Sequence[VisualFeatures]) -> VisualFeatures:
        """One batch of features with the same `shape`."""
        first = parts[0]
        if len(parts) == 1:
            return first
        return replace(
            first,
            streams=tuple(
                torch.cat(streams) for streams in zip(*(part.streams for part in parts), strict=True)
            ),
            mask=None
            if first.mask is None
            else torch.cat([part.mask for part in parts if part.mask is not None]),
            positions_mm=None
            if first.positions_mm is None
            else torch.cat([part.positions_mm for part in parts if part.positions_mm is not None]),
        )

    @property
    def shape(self) -> tuple[Hashable, ...]:
        """Equal where features can be joined."""
        streams = tuple((tuple(stream.shape[1:]), stream.dtype) for stream in self.streams)
        return (streams, self.stream_grids, self.mask is None, self.positions_mm is None, self.connected)

    @property
    def nbytes(self) -> int:
        """Bytes of all streams."""
        return sum(stream.nbytes for stream in self.streams)

    def __len__(self) -> int:
        """How many images or volumes it holds."""
        return len(self.streams[0])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> VisualFeatures:
        """The features on a device; its name and arguments are those that accelerate looks for in a batch."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> VisualFeatures:
        """The features in memory from which a GPU copies fast; PyTorch's DataLoader looks for this name."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> VisualFeatures:
        return replace(
            self,
            streams=tuple(change(stream) for stream in self.streams),
            mask=None if self.mask is None else change(self.mask),
            positions_mm=None if self.positions_mm is None else change(self.positions_mm),
        )

    @property
    def stream_grids(self) -> tuple[Grid, ...]:
        """The grid of every stream."""
        return self.grids or (self.grid,) * len(self.streams)

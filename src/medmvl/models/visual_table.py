"""The visual table: for every image or volume of a batch, where its tokens are and which pixels they come from.

A batch carries it as a long tensor `(visuals, 11)`. Beams reindex this table only; pixels are never repeated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

KINDS = ("image", "volume")
_FINGERPRINT_VALUES = 1024


class VisualRow(NamedTuple):
    """One visual block of one sample."""

    row: int
    """Row of the batch."""
    start: int
    """Position of its first placeholder in the row."""
    length: int
    """Number of placeholders, which is the number of tokens encoder and connector give."""
    kind: int
    """Index into `KINDS`."""
    index: int  # type: ignore[assignment]  # the column's name; tuple.index is not needed here
    """Its volume, or its first tile in `pixel_values`. Rows may share pixels."""
    tiles: int
    """Number of tiles of `pixel_values` that belong to it; 1 for a volume."""
    grid_depth: int
    grid_height: int
    grid_width: int
    fingerprint: int
    """Fingerprint of the pixels it was made from: it detects pixels of another patient in this place."""
    encoded: int = 0
    """1 where `index` counts `visual_features`, which an encoder made before, and not pixels."""

    @property
    def grid(self) -> tuple[int, int, int]:
        """The encoder's grid of one tile or of the volume."""
        return self.grid_depth, self.grid_height, self.grid_width

    @property
    def name(self) -> str:
        """Names the block in errors."""
        return f"{KINDS[self.kind]} at row {self.row}, token {self.start}"


def to_tensor(rows: Sequence[VisualRow]) -> Tensor:
    """The table as a tensor `(visuals, columns)`."""
    return torch.tensor([list(row) for row in rows], dtype=torch.long).reshape(
        len(rows), len(VisualRow._fields)
    )


def to_rows(table: Tensor | Sequence[Sequence[int]]) -> list[VisualRow]:
    """The table as named rows. The host waits for a tensor on a device; rows are returned as they are."""
    return [VisualRow(*values) for values in (table.tolist() if isinstance(table, Tensor) else table)]


def repeat_rows(table: Tensor, times: int) -> Tensor:
    """The table of a batch whose every row comes `times` times in a row, as beam search needs it; pixels stay shared."""
    repeated = table.repeat_interleave(times, dim=0)
    copies = torch.arange(times, device=table.device).repeat(len(table))
    repeated[:, 0] = repeated[:, 0] * times + copies
    return repeated


def fingerprint(pixels: Tensor) -> Tensor:
    """A 0-dim long tensor that depends on the bits of up to 1024 float32 values spread over `pixels`.

    The values are taken at equal steps, each weighted by its place, so that a shifted or swapped image differs.
    """
    flat = pixels.detach().reshape(-1)
    chosen = flat[:: max(1, flat.numel() // _FINGERPRINT_VALUES)].contiguous().view(torch.int32).long()
    weights = torch.arange(1, len(chosen) + 1, device=chosen.device) * 2654435761 % 2147483647
    return (chosen * weights).sum() % 2147483647

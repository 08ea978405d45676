"""The visuals of a batch: the rows of its table with the pixels or features that belong to each, and the check that they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from medmvl.models.features import VisualFeatures
from medmvl.models.visual_table import KINDS, VisualRow, fingerprint, to_rows
from medmvl.models.visuals import ProcessedVisual

Positions = Tensor | Sequence[float] | None
"""Where the slices of a volume lie: as a tensor, or as numbers in the host's memory; None where unknown."""


@dataclass(frozen=True)
class VisualInputs:
    """The visuals of a batch, as `MedMVLForConditionalGeneration.forward` takes them."""

    rows: Sequence[VisualRow]
    images: Tensor | Sequence[Tensor] = ()
    volumes: Sequence[Tensor] = ()
    positions_mm: Sequence[Tensor | None] | None = None
    features: Sequence[VisualFeatures] = ()
    to_keep: Sequence[ProcessedVisual | None] | None = None

    @classmethod
    def collect(
        cls,
        rows: Sequence[VisualRow],
        images: Tensor | Sequence[Tensor] | None = None,
        volumes: Sequence[Tensor] | None = None,
        positions_mm: Sequence[Positions] | None = None,
        features: Sequence[VisualFeatures] | None = None,
        to_keep: Sequence[ProcessedVisual | None] | None = None,
    ) -> VisualInputs:
        """Take what a batch holds; whatever it does not hold is None."""
        slices = None
        if positions_mm is not None:
            slices = [
                None if where is None else torch.as_tensor(where, dtype=torch.float32)
                for where in positions_mm
            ]
        return cls(rows, () if images is None else images, volumes or (), slices, features or (), to_keep)

    @classmethod
    def from_batch(cls, batch: Mapping[str, Any]) -> VisualInputs:
        """Take what a batch holds under the names of `forward`."""
        return cls.collect(
            to_rows(batch["visual_table"]),
            batch.get("pixel_values"),
            batch.get("pixel_values_volumes"),
            batch.get("volume_positions_mm"),
            batch.get("visual_features"),
            batch.get("visuals_to_keep"),
        )

    def of(self, kind: str) -> Iterator[tuple[VisualRow, ProcessedVisual | None]]:
        """The rows of one kind, and for each the visual whose features are to be kept, if there is one."""
        wanted = self.to_keep or [None] * len(self.rows)
        for row, visual in zip(self.rows, wanted, strict=True):
            if KINDS[row.kind] == kind:
                yield row, visual

    def pixels(self, row: VisualRow) -> Tensor:
        """The pixels of a row: `(tiles, C, H, W)` of an image, `(C, D, H, W)` of a volume."""
        if KINDS[row.kind] == "volume":
            return self.volumes[row.index]
        tiles = self.images[row.index : row.index + row.tiles]
        return tiles if isinstance(tiles, Tensor) else torch.stack(list(tiles))

    def check(self, *, training: bool) -> None:
        """Raise ValueError unless pixels and features are those the table was written for.

        Args:
            training: on a device the host does not wait for the answer then, which costs the message its details.
        """
        for row in self.rows:
            self._check_number(row)
        rows = [row for row in self.rows if not row.encoded]
        pixels = [self.pixels(row) for row in rows]
        # a cast changes the bits that are compared
        if pixels and all(block.dtype == torch.float32 for block in pixels):
            found = torch.stack([fingerprint(block) for block in pixels])
            _check_fingerprints(rows, found, training=training)

    def _check_number(self, row: VisualRow) -> None:
        """Check that the batch holds the pixels or features of a row."""
        if row.encoded:
            if row.index >= len(self.features):
                raise ValueError(
                    f"{row.name} has features {row.index}, but the batch holds {len(self.features)}."
                )
            return
        kind = KINDS[row.kind]
        given = len(self.images if kind == "image" else self.volumes)
        if row.index + row.tiles > given:
            raise ValueError(f"{row.name} is number {row.index}, but the batch holds {given} {kind}s.")


def may_wait(found: Tensor, *, training: bool) -> bool:
    """Whether the host may look at a value now: always in its own memory, on a device only outside of training."""
    return found.device.type == "cpu" or not (training and torch.is_grad_enabled())


def _check_fingerprints(rows: Sequence[VisualRow], found: Tensor, *, training: bool) -> None:
    if not may_wait(found, training=training):
        written = torch.tensor([row.fingerprint for row in rows]).to(found.device, non_blocking=True)
        torch._assert_async(
            (found == written).all(), "pixels are not those the processor bound to their place"
        )
        return
    for row, value in zip(rows, found.tolist(), strict=True):
        if value != row.fingerprint:
            raise ValueError(f"{row.name}: its pixels are not those the processor bound to this place.")

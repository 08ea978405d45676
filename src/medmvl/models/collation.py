"""Samples to a batch of padded rows, with the pixels of each visual once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import BatchFeature

from medmvl.models.visual_table import KINDS, VisualRow, to_tensor
from medmvl.models.visuals import IGNORED_LABEL, FeatureKey, ProcessedSample, ProcessedVisual

Batch = dict[str, Any]
"""Arguments of a `forward` by name: tensors, and what the host keeps as plain values."""


def collate(samples: Sequence[ProcessedSample], *, pad_id: int, padding_side: str = "right") -> BatchFeature:
    """Make a batch: padded ids, masks and labels, the pixels of every different visual once, and the visual table.

    Visuals with the same pixels are stored once, so several questions about one scan cost one encoding.

    Args:
        samples: conversations; all with labels or all without.
        pad_id: fills `input_ids`; the attention mask says what is padding.
        padding_side: `"right"` for training, `"left"` for generation.
    """
    assert samples and padding_side in ("left", "right")
    length = max(len(sample.input_ids) for sample in samples)
    offsets = [length - len(s.input_ids) if padding_side == "left" else 0 for s in samples]
    batch: Batch = {
        "input_ids": _pad([s.input_ids for s in samples], offsets, length, pad_id),
        "attention_mask": _pad([torch.ones_like(s.input_ids) for s in samples], offsets, length, 0),
    }
    labels = [s.labels for s in samples if s.labels is not None]
    if labels:
        assert len(labels) == len(samples), "all samples of a batch have labels, or none"
        batch["labels"] = _pad(labels, offsets, length, IGNORED_LABEL)
    return BatchFeature(batch | visual_inputs(samples, offsets))


def visual_inputs(
    samples: Sequence[ProcessedSample], offsets: Sequence[int], *, one_row: bool = False
) -> Batch:
    """The visual part of a batch: the table, and the pixels or features of each visual once.

    Args:
        samples: whose visuals they are.
        offsets: where each sample begins in its row.
        one_row: all samples are in row 0, not each in a row of its own.
    """
    store = _PixelStore()
    rows = []
    for number, (sample, offset) in enumerate(zip(samples, offsets, strict=True)):
        row = 0 if one_row else number
        for visual, start in zip(sample.visuals, sample.starts, strict=True):
            index, encoded = store.add(visual)
            place = (row, offset + start, visual.num_tokens, KINDS.index(visual.kind))
            rows.append(
                VisualRow(*place, index, visual.tiles, *visual.grid, visual.fingerprint, int(encoded))
            )
    inputs: Batch = {"visual_table": to_tensor(rows)} if rows else {}
    inputs |= _features_and_keys([visual for sample in samples for visual in sample.visuals], store)
    questions = [visual.question_ids for sample in samples for visual in sample.visuals]
    if any(question is not None for question in questions):
        nothing = torch.empty(0, dtype=torch.long)
        inputs["question_ids"] = [nothing if question is None else question for question in questions]
    if store.images:
        inputs["pixel_values"] = _stack_tiles(store.images)
    if store.volumes:
        inputs["pixel_values_volumes"] = [visual.pixels for visual in store.volumes]
        inputs["volume_positions_mm"] = [_positions(visual) for visual in store.volumes]
        if any(visual.kept is not None for visual in store.volumes):
            inputs["volume_kept"] = [_kept(visual) for visual in store.volumes]
    return inputs


def _features_and_keys(visuals: Sequence[ProcessedVisual], store: _PixelStore) -> Batch:
    """The features that are known, which of their tokens stay, and for each row where those that are not known belong."""
    inputs: Batch = {}
    if store.encoded:
        inputs["visual_features"] = [visual.features for visual in store.encoded]
        if any(visual.kept is not None for visual in store.encoded):
            inputs["features_kept"] = [_kept(visual) for visual in store.encoded]
    wanted: dict[FeatureKey, int] = {}
    for row, visual in enumerate(visuals):
        if visual.feature_key is not None and visual.features is None:
            wanted.setdefault(visual.feature_key, row)
    if wanted:
        inputs["visuals_to_keep"] = [
            visual.without_pixels() if row in wanted.values() else None for row, visual in enumerate(visuals)
        ]
    return inputs


class _PixelStore:
    """The different visuals of a batch; the same pixels are found again by fingerprint and compared in full."""

    def __init__(self) -> None:
        self.images: list[ProcessedVisual] = []
        self.volumes: list[ProcessedVisual] = []
        self.encoded: list[ProcessedVisual] = []
        self._known: dict[tuple[str, tuple[int, ...], int], list[tuple[ProcessedVisual, int]]] = {}
        self._tiles = 0

    def add(self, visual: ProcessedVisual) -> tuple[int, bool]:
        """The visual's index in the list of its pixels, or of its features; and whether it is stored as features."""
        shape = (visual.kind, tuple(visual.pixels.shape), visual.fingerprint)
        same = self._known.setdefault(shape, [])
        for other, index in same:
            if look_alike(other, visual):
                return index, other.features is not None
        index = self._put(visual)
        same.append((visual, index))
        return index, visual.features is not None

    def _put(self, visual: ProcessedVisual) -> int:
        if visual.features is not None:
            self.encoded.append(visual)
            return len(self.encoded) - 1
        if visual.kind == "volume":
            self.volumes.append(visual)
            return len(self.volumes) - 1
        self.images.append(visual)
        self._tiles += visual.tiles
        return self._tiles - visual.tiles


def look_alike(one: ProcessedVisual, other: ProcessedVisual) -> bool:
    """Whether the encoder reads the same of both."""
    if one.features is not None or other.features is not None:
        return one.pixel_digest == other.pixel_digest
    if one.pixels is other.pixels:
        return True
    return torch.equal(one.pixels, other.pixels) and _equal_positions(one.positions_mm, other.positions_mm)


def _equal_positions(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return torch.equal(one, other)


def _stack_tiles(images: Sequence[ProcessedVisual]) -> Tensor | list[Tensor]:
    """`(tiles, C, H, W)`, or one `(C, H, W)` per tile where their sizes differ."""
    if len({image.pixels.shape[1:] for image in images}) > 1:
        return [tile for image in images for tile in image.pixels]
    return torch.cat([image.pixels for image in images])


def _positions(visual: ProcessedVisual) -> Tensor:
    """`(D,)` slice positions, NaN where unknown."""
    if visual.positions_mm is not None:
        return visual.positions_mm
    return torch.full((visual.pixels.shape[1],), float("nan"))


def _kept(visual: ProcessedVisual) -> Tensor:
    """Indices of the tokens that stay."""
    return torch.arange(math.prod(visual.grid)) if visual.kept is None else visual.kept


def _pad(sequences: Sequence[Tensor], offsets: Sequence[int], length: int, value: int) -> Tensor:
    padded = torch.full((len(sequences), length), value, dtype=torch.long)
    for row, (sequence, offset) in enumerate(zip(sequences, offsets, strict=True)):
        padded[row, offset : offset + len(sequence)] = sequence
    return padded

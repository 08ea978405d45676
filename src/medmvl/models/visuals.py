"""What the processor makes of one image or volume, of one conversation, and how conversations become a batch."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BatchFeature

from medmvl.models.features import VisualFeatures
from medmvl.models.visual_table import KINDS, VisualRow, fingerprint, to_tensor
from medmvl.schema import VisualBlock

IGNORED_LABEL = -100


def digest(*tensors: Tensor | None) -> str:
    """SHA-256 over shape, type and bytes of the tensors."""
    total = hashlib.sha256()
    for tensor in tensors:
        if tensor is None:
            total.update(b"none")
            continue
        plain = tensor.detach().cpu().contiguous()
        total.update(f"{tuple(plain.shape)} {plain.dtype}".encode())
        total.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


class PixelNames(NamedTuple):
    """Stand for pixels where these are compared."""

    digest: str
    """Digest of every bit, and of the positions of slices."""
    fingerprint: int
    """As the visual table holds it."""


class FeatureKey(NamedTuple):
    """Where the features of one view of a scan belong in the cache of features."""

    scan: str
    """Digest of everything that decides the pixels of the scan."""
    view: int
    """0 for the whole, then its crops."""
    num_views: int


@dataclass(frozen=True, eq=False, kw_only=True)
class ProcessedVisual:
    """One image or volume as the model sees it."""

    kind: str
    """`"image"` or `"volume"`."""
    pixels: Tensor
    """float32; an image `(tiles, C, H, W)`, a volume `(C, D, H, W)`. On the device `meta`, with a shape and no values, where
    there are `features`."""
    features: VisualFeatures | None = None
    """Output of a frozen encoder of the pixels, where it is known already."""
    feature_key: FeatureKey | None = None
    """Key to keep the features under once they are known; None where they are not."""
    names: PixelNames | None = None
    """Digests that name the pixels, where their values are not here."""
    grid: tuple[int, int, int]
    """Tokens of the encoder along depth, height and width, of one tile or of the volume."""
    num_tokens: int
    """Tokens the connector gives, which is the number of placeholders."""
    kept: Tensor | None = None
    """Increasing long indices into the flat grid, where tokens that do not change are left out; None where all stay."""
    kept_share: float = 1.0
    """The share of the encoder's tokens that is not left out, because nothing changes there or by the question."""
    question_ids: Tensor | None = None
    """`(n,)` long, n > 0: tokens of the question it is asked about, for connectors that it guides."""
    matrix: NDArray[np.float64]
    """4x4: model voxel `(d, h, w, 1)` (an image: `(0, h, w, 1)`) to voxel of the canonical `MedicalImage`; of tile 0."""
    tile_matrices: NDArray[np.float64] | None = None
    """`(tiles, 4, 4)`: as `matrix` for every tile of an image in tiles, the thumbnail's first; None for one tile."""
    crops: tuple[ProcessedVisual, ...] = ()
    """Full-resolution crops of a volume; their tokens follow those of the overview."""
    positions_mm: Tensor | None = None
    """`(D,)`: where each slice of a volume lies along the slice axis; None where unknown."""
    notes: tuple[str, ...] = ()
    """Plain words on what was done to the intensities, and warnings of the reader."""
    warnings: tuple[str, ...] = ()
    """Doubts that the reader noticed and could not settle, such as a missing slice; without identity."""
    source: dict[str, Any] = field(default_factory=dict)
    """Facts of what was read: kind, shape, spacing, units, modality; never identity."""

    @property
    def tiles(self) -> int:
        """How many entries of `pixel_values` it takes; 1 for a volume."""
        return len(self.pixels) if self.kind == "image" else 1

    @property
    def matrices(self) -> NDArray[np.float64]:
        """`(tiles, 4, 4)`: the way back from every tile."""
        return self.matrix[None] if self.tile_matrices is None else self.tile_matrices

    @property
    def views(self) -> tuple[ProcessedVisual, ...]:
        """The whole, then its crops: each has a row of its own in the visual table."""
        # not cached: a tuple of oneself, kept by oneself, is freed only when garbage is collected
        return (self._whole, *self.crops) if self.crops else (self,)

    @cached_property
    def _whole(self) -> ProcessedVisual:
        return replace(self, crops=())

    @cached_property
    def digest(self) -> str:
        """Names every bit that encoder and connector read: kind, pixels, slice positions and the tokens of the question."""
        question = "" if self.question_ids is None else f" {digest(self.question_ids)}"
        return f"{self.kind} {self.pixel_digest}{question}"

    @cached_property
    def pixel_digest(self) -> str:
        """Names the pixels and the positions of their slices."""
        return digest(self.pixels, self.positions_mm) if self.names is None else self.names.digest

    @cached_property
    def fingerprint(self) -> int:
        """Fingerprint of the pixels, as the visual table holds it."""
        return int(fingerprint(self.pixels)) if self.names is None else self.names.fingerprint

    @property
    def all_tokens(self) -> int:
        """Tokens of all views together."""
        return self.num_tokens + sum(crop.num_tokens for crop in self.crops)

    def to_json(self) -> dict[str, Any]:
        """What the model looked at in this view, as plain values.

        Returns:
            `kind`, what was read (`shape`, `spacing_mm`, `units`, `modality`), `model_shape` of the pixels, the encoder's
            `grid`, the `tokens` that the LLM reads, `kept_share` of the encoder's tokens where unchanged patches are left
            out, `notes` such as the windows, the reader's `warnings`, and `matrix`, 4x4 from model voxel to canonical voxel.
        """
        return {
            "kind": self.kind,
            **self.source,
            "model_shape": list(self.pixels.shape),
            "grid": list(self.grid),
            "tokens": self.num_tokens,
            "kept_share": round(self.kept_share, 4),
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "matrix": self.matrix.tolist(),
        }

    @property
    def nbytes(self) -> int:
        """Bytes of the pixels of all views, or of their features."""
        own = self.pixels.nbytes if self.features is None else self.features.nbytes
        return own + sum(crop.nbytes for crop in self.crops)

    def without_pixels(self) -> ProcessedVisual:
        """The same view with names in place of its pixels."""
        names = PixelNames(self.pixel_digest, self.fingerprint)
        return replace(self, pixels=self.pixels.to("meta"), names=names, crops=())


VisualLoader = Callable[[VisualBlock], ProcessedVisual]
"""Gives what the model sees of a block."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ProcessedSample:
    """One conversation as token ids with its visuals; what a data set yields and a batch is collated from."""

    name: str
    """Names the sample in messages."""
    input_ids: Tensor
    """`(L,)` long, placeholders expanded."""
    labels: Tensor | None
    """`(L,)` long, -100 where nothing is learned; None where nothing is supervised."""
    visuals: tuple[ProcessedVisual, ...] = ()
    """In the order of their placeholders; a volume with crops is here as its views, one after another."""
    starts: tuple[int, ...] = ()
    """Positions where each visual's placeholders begin."""

    @property
    def num_supervised(self) -> int:
        """How many tokens are learned."""
        return 0 if self.labels is None else int((self.labels != IGNORED_LABEL).sum())


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
    batch: dict[str, Any] = {
        "input_ids": _pad([s.input_ids for s in samples], offsets, length, pad_id),
        "attention_mask": _pad([torch.ones_like(s.input_ids) for s in samples], offsets, length, 0),
    }
    labels = [s.labels for s in samples if s.labels is not None]
    if labels:
        assert len(labels) == len(samples), "all samples of a batch have labels, or none"
        batch["labels"] = _pad(labels, offsets, length, IGNORED_LABEL)
    return BatchFeature(batch | _visual_inputs(samples, offsets))


def pack(samples: Sequence[ProcessedSample]) -> BatchFeature:
    """Make a batch of one row: the samples one after another without padding, each with positions from 0.

    `sample_lengths` says where they end, so that each sees itself only. The first token of a sample is predicted by none, as in
    a row of its own.
    """
    lengths = [len(sample.input_ids) for sample in samples]
    offsets = [0, *accumulate(lengths[:-1])]
    labels = []
    for sample in samples:
        assert sample.labels is not None, "samples are packed for training only"
        labels.append(sample.labels.clone())
        labels[-1][:1] = IGNORED_LABEL
    batch: dict[str, Any] = {
        "input_ids": torch.cat([sample.input_ids for sample in samples])[None],
        "position_ids": torch.cat([torch.arange(length) for length in lengths])[None],
        "labels": torch.cat(labels)[None],
        "sample_lengths": lengths,
    }
    return BatchFeature(batch | _visual_inputs(samples, offsets, packed=True))


def _visual_inputs(
    samples: Sequence[ProcessedSample], offsets: Sequence[int], *, packed: bool = False
) -> dict[str, Any]:
    store = _PixelStore()
    rows = []
    for number, (sample, offset) in enumerate(zip(samples, offsets, strict=True)):
        row, segment = (0, number) if packed else (number, 0)
        for visual, start in zip(sample.visuals, sample.starts, strict=True):
            index, encoded = store.add(visual)
            place = (row, segment, offset + start, visual.num_tokens, KINDS.index(visual.kind))
            rows.append(
                VisualRow(*place, index, visual.tiles, *visual.grid, visual.fingerprint, int(encoded))
            )
    inputs: dict[str, Any] = {"visual_table": to_tensor(rows)} if rows else {}
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


def _features_and_keys(visuals: Sequence[ProcessedVisual], store: _PixelStore) -> dict[str, Any]:
    """The features that are known, which of their tokens stay, and for each row where those that are not known belong."""
    inputs: dict[str, Any] = {}
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
        """The visual's index in the list of its pixels, or of its features; and whether these it is."""
        shape = (visual.kind, tuple(visual.pixels.shape), visual.fingerprint)
        same = self._known.setdefault(shape, [])
        for other, index in same:
            if _look_alike(other, visual):
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


def _look_alike(one: ProcessedVisual, other: ProcessedVisual) -> bool:
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
    """`(tiles, C, H, W)`, or one `(C, H, W)` a tile where their sizes differ."""
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

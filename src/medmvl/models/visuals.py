"""What the processor makes of one image or volume, of one conversation, and how conversations become a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medmvl.json_types import JsonObject
from medmvl.models.features import VisualFeatures
from medmvl.models.visual_table import fingerprint
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
    """Digests that replace pixels in comparisons."""

    digest: str
    """Digest of every bit, and of the positions of slices."""
    fingerprint: int
    """Fingerprint as the visual table holds it."""


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
    source: JsonObject = field(default_factory=dict)
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

    def to_json(self) -> JsonObject:
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

    def guided_by(self, question_ids: Tensor) -> ProcessedVisual:
        """The same visual and its crops with the tokens of the question it is asked about."""
        crops = tuple(replace(crop, question_ids=question_ids) for crop in self.crops)
        return replace(self, question_ids=question_ids, crops=crops)

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
    """Visuals in the order of their placeholders; a volume with crops is here as its views, one after another."""
    starts: tuple[int, ...] = ()
    """Positions where each visual's placeholders begin."""

    @property
    def num_supervised(self) -> int:
        """How many tokens are learned."""
        return 0 if self.labels is None else int((self.labels != IGNORED_LABEL).sum())

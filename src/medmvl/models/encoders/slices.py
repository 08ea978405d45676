"""A volume slice by slice through a 2D encoder, a few slices at a time; the tokens keep their slice's place.

MedM-VL-CT-Chest (arXiv 2504.04323) reads CT this way, with SigLIP and attention pooling.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from medmvl.json_types import JsonObject
from medmvl.models.encoders.base import EncoderConfig, ImageEncoder, VolumeEncoder
from medmvl.models.features import Grid, VisualFeatures
from medmvl.models.parts import PartConfig


class SlicesConfig(PartConfig):
    """Settings of slice-wise encoding."""

    type: Literal["slices"] = "slices"
    encoder: JsonObject | Literal["shared"] = "shared"
    """The configuration of an image encoder of its own, or `"shared"` for the model's image encoder."""
    chunk_slices: PositiveInt = 16
    """Slices that pass the 2D encoder at once: bounds memory, never changes a value."""
    slice_positions: Literal["none", "sinusoidal"] = "none"
    """Add a fixed code of where the slice lies, in millimetres where these are known, in slices otherwise."""


class BoundSlicesConfig(SlicesConfig, EncoderConfig):
    """The settings next to those of the image encoder that does the work, which say the sizes."""

    image: EncoderConfig = Field(exclude=True)

    @property
    def widths(self) -> tuple[int, ...]:
        """As the image encoder's."""
        return self.image.widths

    @property
    def channels(self) -> int:
        """As the image encoder's."""
        return self.image.channels

    @property
    def moves_batch_statistics(self) -> bool:
        """As the image encoder's."""
        return self.image.moves_batch_statistics

    def grid(self, size: tuple[int, ...]) -> Grid:
        """One layer of tokens per slice."""
        _, height, width = self.image.grid(size[1:])
        return (size[0], height, width)


class SliceEncoder(VolumeEncoder):
    """Volumes to the tokens of their slices. A shared image encoder stays the model's, saved once."""

    Config = SlicesConfig

    def __init__(self, config: BoundSlicesConfig, encoder: ImageEncoder) -> None:
        super().__init__(config)
        self.settings = config
        if config.encoder == "shared":
            self._shared = (encoder,)  # in a tuple, so that it is not registered as a child a second time
        else:
            self.encoder = encoder

    @property
    def image_encoder(self) -> ImageEncoder:
        """The encoder of a slice."""
        return self._shared[0] if self.settings.encoder == "shared" else self.encoder

    def weights(self) -> Iterator[nn.Parameter]:
        """Those of the image encoder, shared or not."""
        return self.image_encoder.weights()

    def state(self) -> Iterator[Tensor]:
        """That of the image encoder, shared or not."""
        return self.image_encoder.state()

    def all_settings(self) -> list[JsonObject]:
        """Its own, and those of the image encoder."""
        return [self.settings.to_dict(), *self.image_encoder.all_settings()]

    def encode(self, pixel_values: Tensor, positions_mm: Tensor | None) -> VisualFeatures:
        """All slices of the batch in chunks, then put together again."""
        batch, _, depth = pixel_values.shape[:3]
        slices = pixel_values.transpose(1, 2).flatten(0, 1)
        encoded = [
            self.image_encoder(chunk).streams for chunk in torch.split(slices, self.settings.chunk_slices)
        ]
        streams = tuple(_by_volume(torch.cat(chunks), batch) for chunks in zip(*encoded, strict=True))
        if self.settings.slice_positions == "sinusoidal":
            where = _centred(positions_mm, batch, depth, pixel_values.device)
            streams = tuple(s + sinusoids(where, s.shape[-1]).to(s.dtype).unsqueeze(2) for s in streams)
        tokens = tuple(stream.flatten(1, 2) for stream in streams)
        return VisualFeatures(tokens, self.grid(*pixel_values.shape[2:]), positions_mm=positions_mm)


def _by_volume(tokens: Tensor, batch: int) -> Tensor:
    """Tokens of all slices `(batch * depth, tokens, width)` as `(batch, depth, tokens, width)`."""
    return tokens.reshape(batch, -1, *tokens.shape[1:])


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """Sines and cosines `(..., width)` of positions, wavelengths 2 pi to 20,000 pi (arXiv 1706.03762)."""
    half = (width + 1) // 2
    rates = 10_000.0 ** (-torch.arange(half, device=positions.device, dtype=torch.float32) / half)
    angles = positions.float().unsqueeze(-1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)[..., :width]


def _centred(positions_mm: Tensor | None, batch: int, depth: int, device: torch.device) -> Tensor:
    """Positions relative to the middle of the scan: where the patient lay on the table says nothing."""
    if positions_mm is None:
        positions_mm = torch.arange(depth, device=device, dtype=torch.float32).expand(batch, depth)
    return positions_mm - positions_mm.mean(dim=1, keepdim=True)

"""2D-enhanced 3D: a volume encoder for the whole and a slice-wise one for the detail, two streams of one volume.

Med-2E3 (arXiv 2411.12783) joins M3D-CLIP and SigLIP like this; its connector here is `text_guided_slices`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Literal, Self

from pydantic import Field, model_validator
from torch import Tensor, nn

from medmvl.json_types import JsonObject
from medmvl.models.encoders.base import EncoderConfig, VolumeEncoder
from medmvl.models.encoders.slices import SliceEncoder, SlicesConfig
from medmvl.models.features import Grid, VisualFeatures
from medmvl.models.parts import PartConfig


class VolumeAndSlicesConfig(PartConfig):
    """Settings of the two encoders."""

    type: Literal["volume_and_slices"] = "volume_and_slices"
    volume: JsonObject
    """The configuration of an encoder that reads the volume as a whole."""
    slices: SlicesConfig = SlicesConfig()
    """How slices are read: by default through the model's image encoder."""


class BoundVolumeAndSlicesConfig(VolumeAndSlicesConfig, EncoderConfig):
    """The settings next to the typed ones of both encoders, which say the sizes."""

    whole: EncoderConfig = Field(exclude=True)
    detail: EncoderConfig = Field(exclude=True)

    @model_validator(mode="after")
    def _one_stream_each(self) -> Self:
        for part in (self.whole, self.detail):
            if len(part.widths) != 1:
                raise ValueError(f"{part.type} gives {len(part.widths)} streams; each encoder must give one.")
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """The volume's stream, then that of the slices."""
        return (*self.whole.widths, *self.detail.widths)

    @property
    def channels(self) -> int:
        """Those of the encoder that reads fewer: the other one repeats grey."""
        return min(self.whole.channels, self.detail.channels)

    @property
    def moves_batch_statistics(self) -> bool:
        """Whether either encoder's do; each sees to its own."""
        return self.whole.moves_batch_statistics or self.detail.moves_batch_statistics

    def grid(self, size: tuple[int, ...]) -> Grid:
        """That of the volume's stream."""
        return self.whole.grid(size)

    def grids(self, size: tuple[int, ...]) -> tuple[Grid, ...]:
        """Those of both streams; the second has one layer per slice."""
        return (self.whole.grid(size), self.detail.grid(size))


class VolumeAndSlicesEncoder(VolumeEncoder):
    """Volumes to the tokens of the whole, and the tokens of each slice."""

    Config = VolumeAndSlicesConfig

    def __init__(
        self, config: BoundVolumeAndSlicesConfig, volume: VolumeEncoder, slices: SliceEncoder
    ) -> None:
        super().__init__(config)
        self.volume = volume
        self.slices = slices

    def weights(self) -> Iterator[nn.Parameter]:
        """Those of both encoders, shared or not."""
        return chain(self.volume.weights(), self.slices.weights())

    def state(self) -> Iterator[Tensor]:
        """That of both encoders, shared or not."""
        return chain(self.volume.state(), self.slices.state())

    def all_settings(self) -> list[JsonObject]:
        """Those of both encoders."""
        return [self.part_config.to_dict(), *self.volume.all_settings(), *self.slices.all_settings()]

    def encode(self, pixel_values: Tensor, positions_mm: Tensor | None) -> VisualFeatures:
        """The volume's stream, then that of the slices."""
        whole, detail = self.volume(pixel_values, positions_mm), self.slices(pixel_values, positions_mm)
        return VisualFeatures(
            (*whole.streams, *detail.streams),
            whole.grid,
            positions_mm=whole.positions_mm,
            grids=(whole.grid, detail.grid),
        )

"""The two types of encoder: an image encoder reads `(N, C, H, W)`, a volume encoder `(N, C, D, H, W)`.

A frozen encoder keeps no autograd state, an encoder of colour images takes grey ones: handled here, once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from medmvl.errors import RecipeError, UserError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.models.features import Grid, VisualFeatures
from medmvl.models.parts import PartConfig

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
"""Norms with running statistics."""


class EncoderConfig(PartConfig, ABC):
    """What is known of an encoder before it is built."""

    @property
    @abstractmethod
    def widths(self) -> tuple[int, ...]:
        """The width of each stream of features."""

    @property
    @abstractmethod
    def channels(self) -> int:
        """The channels of its pixels."""

    @property
    def moves_batch_statistics(self) -> bool:
        """Whether batch norms use and move statistics while they are trained."""
        return False

    @abstractmethod
    def grid(self, size: tuple[int, ...]) -> Grid:
        """The grid of tokens for pixels of `size`: `(height, width)`, or `(depth, height, width)`.

        With several streams it is the grid of the first.

        Raises:
            RecipeError: this size cannot be encoded.
        """

    def grids(self, size: tuple[int, ...]) -> tuple[Grid, ...]:
        """The grid of every stream, for encoders whose streams are coarse and fine."""
        return (self.grid(size),) * len(self.widths)


class BatchNormedConfig(EncoderConfig, ABC):
    """Settings of an encoder that has batch norms."""

    batch_statistics: bool = False
    """Train with the statistics of each batch, and move the running ones: only from scratch, with large batches.

    Otherwise batch norms keep the running statistics that they came with.
    """

    @property
    def moves_batch_statistics(self) -> bool:
        """As `batch_statistics`."""
        return self.batch_statistics


class Encoder(nn.Module, ABC):
    """Pixels in, `VisualFeatures` out."""

    spatial_dims: int

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.part_config = config

    @property
    def widths(self) -> tuple[int, ...]:
        """The width of each stream."""
        return self.part_config.widths

    @property
    def width(self) -> int:
        """The width of the only stream."""
        assert self.num_streams == 1, self.widths
        return self.widths[0]

    @property
    def num_streams(self) -> int:
        """How many streams of features it gives."""
        return len(self.widths)

    def weights(self) -> Iterator[nn.Parameter]:
        """All parameters it computes with, also those of an encoder that it shares."""
        return self.parameters()

    def state(self) -> Iterator[Tensor]:
        """All parameters and buffers that it computes with, also those of an encoder that it shares."""
        yield from self.parameters()
        yield from self.buffers()

    def all_settings(self) -> list[JsonObject]:
        """All settings that decide its features, also those of an encoder that it shares."""
        return [self.part_config.to_dict()]

    def train(self, mode: bool = True) -> Self:
        """As PyTorch's, but what is frozen stays in evaluation mode, and so do batch norms.

        A batch of few volumes, or the empty one that keeps idle parts of all ranks in step, says nothing of the
        statistics; the weights of these norms are trained all the same.
        """
        super().train(mode and any(weight.requires_grad for weight in self.weights()))
        if not self.part_config.moves_batch_statistics:
            for module in self.modules():
                if isinstance(module, BATCH_NORMS):
                    module.eval()
        return self

    def runs_with_gradient(self) -> bool:
        """Whether any of its parameters is trained in the current context."""
        return torch.is_grad_enabled() and any(weight.requires_grad for weight in self.weights())

    def match_channels(self, pixels: Tensor) -> Tensor:
        """Pixels `(N, C, ...)` with the channels that the encoder was built for; grey is repeated."""
        expected, found = self.part_config.channels, pixels.shape[1]
        if pixels.ndim != self.spatial_dims + 2:
            raise UserError(
                f"{self.part_config.type}: pixels of shape {tuple(pixels.shape)} need "
                f"{self.spatial_dims + 2} axes (batch, channels, then {self.spatial_dims} in space)."
            )
        if found == 1 and expected != 1:
            return pixels.expand(-1, expected, *pixels.shape[2:])
        if found != expected:
            raise UserError(
                f"{self.part_config.type}: pixels have {found} channels, the encoder reads {expected}."
            )
        return pixels


class ImageEncoder(Encoder):
    """An encoder of 2D images."""

    spatial_dims = 2
    Config: ClassVar[type[EncoderConfig]]

    @staticmethod
    def pretrained_settings(settings: JsonMapping) -> JsonObject:
        """The plain configuration for settings that name a checkpoint by `path`.

        Raises:
            RecipeError: there is no such checkpoint, or encoders of this type have none.
        """
        raise RecipeError(
            f"image encoder {settings.get('type')!r} takes no path: there are no checkpoints of its own; remove path."
        )

    def load_pretrained(self, path: str) -> None:
        """Take the weights of the checkpoint whose settings `pretrained_settings` read."""
        raise RecipeError(f"image encoder {self.part_config.type!r} reads no checkpoint by path ({path!r}).")

    def grid(self, height: int, width: int) -> Grid:
        """The grid `(1, h, w)` for images of this size."""
        return self.part_config.grid((height, width))

    def forward(self, pixel_values: Tensor) -> VisualFeatures:
        """Encode images of one size: `(N, C, H, W)`."""
        with torch.set_grad_enabled(self.runs_with_gradient()):
            return self.encode(self.match_channels(pixel_values))

    @abstractmethod
    def encode(self, pixel_values: Tensor) -> VisualFeatures:
        """The encoder's own computation."""


class VolumeEncoder(Encoder):
    """An encoder of 3D volumes."""

    spatial_dims = 3
    Config: ClassVar[type[PartConfig]]

    def grid(self, depth: int, height: int, width: int) -> Grid:
        """The grid `(d, h, w)` for volumes of this size."""
        return self.part_config.grid((depth, height, width))

    def forward(self, pixel_values: Tensor, positions_mm: Tensor | None = None) -> VisualFeatures:
        """Encode volumes of one shape.

        Args:
            pixel_values: `(N, C, D, H, W)`.
            positions_mm: `(N, D)`, where each slice lies along the slice axis; None where unknown.
        """
        with torch.set_grad_enabled(self.runs_with_gradient()):
            return self.encode(self.match_channels(pixel_values), positions_mm)

    @abstractmethod
    def encode(self, pixel_values: Tensor, positions_mm: Tensor | None) -> VisualFeatures:
        """The encoder's own computation."""


def whole_patches(size: tuple[int, ...], patch_size: tuple[int, ...], name: str) -> tuple[int, ...]:
    """Patches along each axis. Raises RecipeError where a border would be lost."""
    if any(length < patch or length % patch for length, patch in zip(size, patch_size, strict=True)):
        raise RecipeError(
            f"{name}: a size of {_times(size)} is not a multiple of the patch size {_times(patch_size)}; "
            "change the size that the processor makes, or the patch size."
        )
    return tuple(length // patch for length, patch in zip(size, patch_size, strict=True))


def _times(lengths: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in lengths)

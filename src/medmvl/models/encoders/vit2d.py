"""A small 2D vision transformer of our own, for models that are trained from scratch."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor

from medmvl.models.encoders.base import ImageEncoder
from medmvl.models.encoders.vit import ViT, ViTConfig
from medmvl.models.features import VisualFeatures


class ViT2DConfig(ViTConfig):
    """Settings of a 2D vision transformer; sizes are (height, width)."""

    type: Literal["vit2d"] = "vit2d"
    size: tuple[PositiveInt, PositiveInt] = (224, 224)
    patch_size: tuple[PositiveInt, PositiveInt] = (16, 16)


class ViT2D(ImageEncoder):
    """Images to patch tokens."""

    Config = ViT2DConfig

    def __init__(self, config: ViT2DConfig) -> None:
        super().__init__(config)
        self.vit = ViT(config)

    def encode(self, pixel_values: Tensor) -> VisualFeatures:
        """Tokens on the grid of patches."""
        return VisualFeatures((self.vit(pixel_values),), self.grid(*pixel_values.shape[2:]))

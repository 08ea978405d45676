"""A 3D vision transformer.

M3D-CLIP (arXiv 2404.00578) has this shape: patches of 4 x 16 x 16 voxels, a class token,
no query, key and value biases.
"""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveInt
from torch import Tensor

from medmvl.models.encoders.base import VolumeEncoder
from medmvl.models.encoders.vit import ViT, ViTConfig
from medmvl.models.features import VisualFeatures


class ViT3DConfig(ViTConfig):
    """Settings of a 3D vision transformer; sizes are (depth, height, width)."""

    type: Literal["vit3d"] = "vit3d"
    size: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 256, 256)
    patch_size: tuple[PositiveInt, PositiveInt, PositiveInt] = (4, 16, 16)


class ViT3D(VolumeEncoder):
    """Volumes to patch tokens."""

    Config = ViT3DConfig

    def __init__(self, config: ViT3DConfig) -> None:
        super().__init__(config)
        self.vit = ViT(config)

    def encode(self, pixel_values: Tensor, positions_mm: Tensor | None) -> VisualFeatures:
        """Tokens on the grid of patches; a layer of patches lies at the mean position of its slices."""
        grid = self.grid(*pixel_values.shape[2:])
        layers_mm = (
            None if positions_mm is None else positions_mm.reshape(len(positions_mm), grid[0], -1).mean(dim=2)
        )
        return VisualFeatures((self.vit(pixel_values),), grid, positions_mm=layers_mm)

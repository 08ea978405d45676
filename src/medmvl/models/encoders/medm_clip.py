"""MedM-CLIP's volume encoder: norms around the patch map, a position on the class token too, post-norm layers.

Source: the first code of MedM-VL (github.com/MSIIP/MedM-VL), after lucidrains' vit-pytorch. Its layers are
those of PyTorch's `TransformerEncoderLayer` with its defaults, norm after each part and ReLU, computed in our own way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Self

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medmvl.json_types import JsonMapping, JsonObject
from medmvl.models.encoders.base import EncoderConfig, VolumeEncoder, whole_patches
from medmvl.models.encoders.post_norm import PostNormLayer
from medmvl.models.encoders.tokens import (
    Select,
    flat_patches,
    layer_positions,
    resized_positions,
    select_tokens,
    selected_grid,
)
from medmvl.models.encoders.weight_names import layers_up_to, renamed, tensors_under
from medmvl.models.features import Grid, VisualFeatures


class MedMCLIPConfig(EncoderConfig):
    """Settings of MedM-CLIP's encoder; sizes are (depth, height, width)."""

    type: Literal["medm_clip"] = "medm_clip"
    size: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 256, 256)
    """The native size in voxels: positions are learned for it and interpolated for others."""
    patch_size: tuple[PositiveInt, PositiveInt, PositiveInt] = (4, 16, 16)
    in_channels: PositiveInt = 1
    width: PositiveInt = 768
    num_layers: PositiveInt = 12
    num_heads: PositiveInt = 12
    mlp_width: PositiveInt = 3072
    select: Select = "patch"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.grid(self.size)
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}.")
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """One stream."""
        return (self.width,)

    @property
    def channels(self) -> int:
        """As `in_channels`."""
        return self.in_channels

    def patches(self, size: tuple[int, ...]) -> Grid:
        """Patches along each axis. Raises RecipeError where the patches do not fill the size."""
        depth, height, width = whole_patches(size, self.patch_size, self.type)
        return (depth, height, width)

    def grid(self, size: tuple[int, ...]) -> Grid:
        """The patches; with the class token as `select` says."""
        return selected_grid(self.patches(size), self.select)


class MedMCLIP(VolumeEncoder):
    """Volumes to the tokens of the last layer, which are normed by it."""

    Config = MedMCLIPConfig

    def __init__(self, config: MedMCLIPConfig) -> None:
        super().__init__(config)
        self.settings = config
        voxels = config.in_channels * math.prod(config.patch_size)
        self.patch_embedding = nn.Sequential(
            nn.LayerNorm(voxels), nn.Linear(voxels, config.width), nn.LayerNorm(config.width)
        )
        num_positions = 1 + math.prod(config.patches(config.size))
        self.position_embedding = nn.Parameter(torch.empty(1, num_positions, config.width))
        self.class_token = nn.Parameter(torch.empty(1, 1, config.width))
        self.layers = nn.ModuleList(
            PostNormLayer(config.width, config.num_heads, config.mlp_width) for _ in range(config.num_layers)
        )
        self.gradient_checkpointing = False
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small random positions and class token."""
        nn.init.trunc_normal_(self.position_embedding, std=0.02)
        nn.init.trunc_normal_(self.class_token, std=0.02)

    def encode(self, pixel_values: Tensor, positions_mm: Tensor | None) -> VisualFeatures:
        """Tokens on the grid of patches; a layer of patches lies at the mean position of its slices."""
        grid = self.settings.patches(tuple(pixel_values.shape[2:]))
        pixels = pixel_values.to(self.class_token.dtype)
        voxels = flat_patches(pixels, self.settings.patch_size).permute(0, 1, 4, 5, 3, 2).flatten(2)
        tokens = self.patch_embedding(voxels)
        tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        tokens = tokens + self.positions(grid)
        for layer in self.layers:
            if self.gradient_checkpointing and self.training:
                tokens = checkpoint(layer, tokens, use_reentrant=False)
            else:
                tokens = layer(tokens)
        selected = select_tokens(tokens, self.settings.select, 1)
        known = positions_mm if self.settings.select == "patch" else None
        layers_mm = layer_positions(known, grid[0], self.settings.patch_size[0])
        return VisualFeatures((selected,), selected_grid(grid, self.settings.select), positions_mm=layers_mm)

    def positions(self, patches: Grid) -> Tensor:
        """Position embeddings `(1, 1 + tokens, width)`: the class token's stays, those of patches fit the grid."""
        first, rest = self.position_embedding[:, :1], self.position_embedding[:, 1:]
        native = self.settings.patches(self.settings.size)
        return torch.cat([first, resized_positions(rest, native, patches)], dim=1)


def medm_clip_settings(config: JsonMapping, layer: int = -1, select: Select = "patch") -> JsonObject:
    """The settings of `medm_clip` for a MedM-CLIP `config.json`.

    Args:
        config: configuration of the checkpoint; keys that it leaves out have MedM-CLIP's defaults.
        layer: index of its list of hidden states, which starts with the output of the first layer.
        select: `patch` or `cls_patch`.

    Raises:
        RecipeError: there is no such layer.
    """
    depth, patch_depth = config.get("frame_size", 32), config.get("frame_patch_size", 4)
    length, patch_length = config.get("image_size", 256), config.get("image_patch_size", 16)
    return {
        "type": "medm_clip",
        "size": [depth, length, length],
        "patch_size": [patch_depth, patch_length, patch_length],
        "width": config.get("hidden_size", 768),
        "num_layers": layers_up_to(layer, config.get("image_num_layers", 12), "MedM-CLIP"),
        "num_heads": config.get("image_num_heads", 12),
        "mlp_width": config.get("image_mlp_dim", 3072),
        "select": select,
    }


def medm_clip_weights(state_dict: Mapping[str, Tensor], config: MedMCLIPConfig) -> dict[str, Tensor]:
    """The weights of a `MedMCLIP` with these settings out of MedM-CLIP's, whatever prefix they carry.

    Raises:
        RecipeError: a tensor is missing.
    """
    theirs = tensors_under(state_dict, "to_patch_embedding.1.weight", "MedM-CLIP")
    names = {"cls_token": "class_token", "pos_embedding": "position_embedding"}
    for index in range(3):
        for name in ("weight", "bias"):
            names[f"to_patch_embedding.{index + 1}.{name}"] = f"patch_embedding.{index}.{name}"
    with torch.device("meta"):
        layer = PostNormLayer(1, 1, 1).state_dict()
    for index in range(config.num_layers):
        for name in layer:
            names[f"transformer_layers.{index}.{name}"] = f"layers.{index}.{name}"
    return renamed(theirs, names, "MedM-CLIP")

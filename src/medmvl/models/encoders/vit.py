"""A vision transformer in two or three dimensions: patch or convolutional stem, positions fit other sizes.

Sources: Dosovitskiy et al. 2021 (arXiv 2010.11929), pre-norm; stem: Xiao et al. 2021 (arXiv 2106.14881).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medmvl.models.encoders.base import EncoderConfig, whole_patches
from medmvl.models.encoders.tokens import Select, resized_positions, select_tokens, selected_grid
from medmvl.models.features import Grid

CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}


class ViTConfig(EncoderConfig):
    """Settings of a vision transformer of any dimension; sizes are in array order."""

    size: tuple[PositiveInt, ...]
    """The native size in voxels: the position embeddings are learned for it and interpolated for others."""
    patch_size: tuple[PositiveInt, ...]
    """Voxels per token along each axis; powers of two for the convolutional stem."""
    in_channels: PositiveInt = 1
    width: PositiveInt = 768
    num_layers: int = Field(default=12, ge=0)
    num_heads: PositiveInt = 12
    mlp_width: PositiveInt | None = None
    """Hidden width of the feed-forward layers; four times `width` by default."""
    stem: Literal["patch", "conv"] = "patch"
    """One linear map per patch, or small convolutions that halve the longest axes down to a token."""
    class_token: bool = False
    """Carry a class token through the layers; without `select` its output is dropped."""
    select: Select = "patch"
    final_norm: bool = True
    """Norm the output of the last layer, as the transformer itself does."""
    qkv_bias: bool = True

    @model_validator(mode="after")
    def _fits(self) -> ViTConfig:
        self.grid(self.size)
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}.")
        if self.select != "patch" and not self.class_token:
            raise ValueError(f"select {self.select!r} needs class_token: true.")
        if self.stem == "conv" and any(patch & (patch - 1) for patch in self.patch_size):
            raise ValueError(
                f"patch_size {self.patch_size} must be powers of two for the convolutional stem."
            )
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """One stream."""
        return (self.width,)

    @property
    def channels(self) -> int:
        """As `in_channels`."""
        return self.in_channels

    def patches(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """Patches along each spatial axis. Raises RecipeError where the patches do not fill the size."""
        return whole_patches(size, self.patch_size, self.type)

    def grid(self, size: tuple[int, ...]) -> Grid:
        """The patches, with depth 1 for images; with a class token as `select` says."""
        patches = self.patches(size)
        depth, height, width = (1, *patches) if len(patches) == 2 else patches
        return selected_grid((depth, height, width), self.select)


class ViT(nn.Module):
    """Pixels `(N, C, *size)` to the selected tokens `(N, tokens, width)`, last axis of the patches fastest."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        self.settings = config
        width, native = config.width, config.patches(config.size)
        self.patch_embedding = conv_stem(config) if config.stem == "conv" else patch_stem(config)
        self.position_embedding = nn.Parameter(torch.empty(1, math.prod(native), width))
        self.class_token = nn.Parameter(torch.empty(1, 1, width)) if config.class_token else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(width) if config.final_norm else nn.Identity()
        self.gradient_checkpointing = False
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small random positions and class token."""
        nn.init.trunc_normal_(self.position_embedding, std=0.02)
        if self.class_token is not None:
            nn.init.trunc_normal_(self.class_token, std=0.02)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode pixels of one size."""
        patches = self.settings.patches(tuple(pixels.shape[2:]))
        dtype = self.position_embedding.dtype
        tokens = self.patch_embedding(pixels.to(dtype)).flatten(2).transpose(1, 2) + self.positions(patches)
        if self.class_token is not None:
            tokens = torch.cat([self.class_token.expand(len(tokens), -1, -1), tokens], dim=1)
        for block in self.blocks:
            if self.gradient_checkpointing and self.training:
                tokens = checkpoint(block, tokens, use_reentrant=False)
            else:
                tokens = block(tokens)
        normed: Tensor = self.norm(tokens)
        return select_tokens(normed, self.settings.select, int(self.settings.class_token))

    def positions(self, patches: tuple[int, ...]) -> Tensor:
        """Position embeddings `(1, tokens, width)` for a number of patches along each axis."""
        native = self.settings.patches(self.settings.size)
        return resized_positions(self.position_embedding, native, patches)


class Block(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, config: ViTConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.mlp_width or 4 * config.width
        self.num_heads = config.num_heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=config.qkv_bias)
        self.out_proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens `(N, tokens, width)` in and out."""
        batch, count, _ = tokens.shape
        heads = self.qkv(self.norm1(tokens)).reshape(batch, count, 3, self.num_heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out_proj(attended.transpose(1, 2).flatten(2))
        result: Tensor = tokens + self.mlp(self.norm2(tokens))
        return result


def patch_stem(config: ViTConfig) -> nn.Module:
    """One linear map per patch, written as a convolution whose stride is its kernel."""
    convolution = CONVOLUTIONS[len(config.size)]
    kernel = config.patch_size
    return convolution(config.in_channels, config.width, kernel_size=kernel, stride=kernel)  # type: ignore[arg-type]


def conv_stem(config: ViTConfig) -> nn.Module:
    """Convolutions that halve the axes with the most voxels left in a patch, then a linear map."""
    convolution = CONVOLUTIONS[len(config.size)]
    remaining = list(config.patch_size)
    num_steps = int(math.log2(max(remaining)))
    layers: list[nn.Module] = []
    channels = config.in_channels
    for step in range(num_steps):
        longest = max(remaining)
        stride = tuple(2 if left == longest else 1 for left in remaining)
        remaining = [left // halved for left, halved in zip(remaining, stride, strict=True)]
        wider = max(16, config.width >> (num_steps - 1 - step))
        layers += [
            convolution(channels, wider, 3, stride=stride, padding=1),  # type: ignore[arg-type]
            nn.GroupNorm(1, wider),
            nn.GELU(),
        ]
        channels = wider
    return nn.Sequential(*layers, convolution(channels, config.width, 1))

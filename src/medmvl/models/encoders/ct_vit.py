"""CT-ViT, the volume encoder of CT-CLIP: patches attend within their layer, then along depth.

Sources: CT-CLIP (arXiv 2403.17834), whose tokens CT-CHAT reads; C-ViViT of Phenaki (arXiv 2210.02399); position
bias of Swin v2 (arXiv 2111.09883). Nothing is bound to a size: other sizes and depths need no interpolation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Self

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from medmvl.errors import RecipeError
from medmvl.json_types import JsonObject
from medmvl.models.encoders.base import EncoderConfig, VolumeEncoder, whole_patches
from medmvl.models.encoders.tokens import flat_patches, layer_positions
from medmvl.models.encoders.weight_names import renamed, tensors_under
from medmvl.models.features import Grid, VisualFeatures


class CTViTConfig(EncoderConfig):
    """Settings of CT-ViT; the defaults are CT-CLIP's, for volumes of 240 x 480 x 480 voxels."""

    type: Literal["ct_vit"] = "ct_vit"
    patch_size: tuple[PositiveInt, PositiveInt, PositiveInt] = (10, 20, 20)
    in_channels: PositiveInt = 1
    width: PositiveInt = 512
    num_spatial_layers: PositiveInt = 4
    num_depth_layers: PositiveInt = 4
    num_heads: PositiveInt = 8
    head_width: PositiveInt = 32
    codebook_size: PositiveInt | None = None
    """Number of code vectors, the nearest of which replaces each token, as in CT-CLIP with 8192; None keeps the tokens."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.in_channels * math.prod(self.patch_size) < 2:
            raise ValueError("a patch of one voxel cannot be normed; patch_size must be larger.")
        return self

    @property
    def widths(self) -> tuple[int, ...]:
        """One stream."""
        return (self.width,)

    @property
    def channels(self) -> int:
        """As `in_channels`."""
        return self.in_channels

    def grid(self, size: tuple[int, ...]) -> Grid:
        """The patches. Raises RecipeError where they do not fill the size."""
        depth, height, width = whole_patches(size, self.patch_size, self.type)
        return (depth, height, width)


class CTViT(VolumeEncoder):
    """Volumes to patch tokens."""

    Config = CTViTConfig
    codebook: Tensor

    def __init__(self, config: CTViTConfig) -> None:
        super().__init__(config)
        self.settings = config
        voxels, width = config.in_channels * math.prod(config.patch_size), config.width
        self.patch_embedding = nn.Sequential(
            nn.LayerNorm(voxels), nn.Linear(voxels, width), nn.LayerNorm(width)
        )
        self.position_bias = nn.Sequential(
            nn.Linear(2, width),
            nn.LeakyReLU(0.1),
            nn.Linear(width, width),
            nn.LeakyReLU(0.1),
            nn.Linear(width, config.num_heads),
        )
        self.spatial_layers = nn.ModuleList(Layer(config) for _ in range(config.num_spatial_layers))
        self.spatial_norm = nn.LayerNorm(width, bias=False)
        self.depth_layers = nn.ModuleList(Layer(config) for _ in range(config.num_depth_layers))
        self.depth_norm = nn.LayerNorm(width, bias=False)
        self.gradient_checkpointing = False
        if config.codebook_size is not None:
            self.register_buffer("codebook", F.normalize(torch.randn(config.codebook_size, width), dim=-1))

    def encode(self, pixel_values: Tensor, positions_mm: Tensor | None) -> VisualFeatures:
        """Tokens on the grid of patches; a layer of patches lies at the mean position of its slices."""
        grid = depth, height, width = self.grid(*pixel_values.shape[2:])
        patches = flat_patches(pixel_values.to(next(self.parameters()).dtype), self.settings.patch_size)
        tokens = self.patch_embedding(patches.flatten(2))  # N, D * H * W, C
        batch = len(tokens)
        shape = (batch, depth, height, width)
        tokens = tokens.reshape(batch * depth, height * width, -1)
        bias = self.bias(height, width)
        for layer in self.spatial_layers:
            tokens = self._run(layer, tokens, shape, bias)
        tokens = self.spatial_norm(tokens).reshape(batch, depth, height * width, -1)
        tokens = tokens.transpose(1, 2).reshape(batch * height * width, depth, -1)
        for layer in self.depth_layers:
            tokens = self._run(layer, tokens, shape, None)
        tokens = self.depth_norm(tokens).reshape(batch, height * width, depth, -1)
        tokens = self.quantized(tokens.transpose(1, 2).reshape(batch, depth * height * width, -1))
        layers_mm = layer_positions(positions_mm, depth, self.settings.patch_size[0])
        return VisualFeatures((tokens,), grid, positions_mm=layers_mm)

    def _run(
        self, layer: nn.Module, tokens: Tensor, shape: tuple[int, int, int, int], bias: Tensor | None
    ) -> Tensor:
        if self.gradient_checkpointing and self.training:
            again: Tensor = checkpoint(layer, tokens, shape, bias, use_reentrant=False)
            return again
        result: Tensor = layer(tokens, shape, bias)
        return result

    def bias(self, height: int, width: int) -> Tensor:
        """What is added to the scores of patches of a layer for their distance: `(heads, H * W, H * W)`."""
        first = next(self.position_bias.parameters())
        rows, columns = torch.arange(height, device=first.device), torch.arange(width, device=first.device)
        where = torch.cartesian_prod(rows, columns).reshape(-1, 2).to(first.dtype)
        distance = where.unsqueeze(1) - where.unsqueeze(0)
        bias: Tensor = self.position_bias(distance.sign() * (distance.abs() + 1).log())
        return bias.permute(2, 0, 1)

    def quantized(self, tokens: Tensor) -> Tensor:
        """The code vectors nearest in angle; gradients pass to the tokens as if nothing had been replaced."""
        if self.settings.codebook_size is None:
            return tokens
        directions = F.normalize(tokens, dim=-1)
        nearest = (directions @ F.normalize(self.codebook, dim=-1).T).argmax(dim=-1)
        codes = F.embedding(nearest, self.codebook)
        return directions + (codes - directions).detach() if self.training else codes


class Layer(nn.Module):
    """A convolution that tells places apart, attention, and a gated feed-forward network."""

    def __init__(self, config: CTViTConfig) -> None:
        super().__init__()
        width = config.width
        hidden = int(4 * (2 / 3) * width)
        self.places = nn.Conv3d(width, width, 3, groups=width)
        self.attention = Attention(config)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * hidden, bias=False)
        self.narrow = nn.Linear(hidden, width, bias=False)

    def forward(self, tokens: Tensor, shape: tuple[int, int, int, int], bias: Tensor | None) -> Tensor:
        """Tokens of sequences `(n, length, width)` in and out; `shape` is `(batch, depth, height, width)`."""
        tokens = tokens + self.placed(tokens, shape)
        tokens = tokens + self.attention(tokens, bias)
        value, gate = self.widen(self.norm(tokens)).chunk(2, dim=-1)
        result: Tensor = tokens + self.narrow(F.gelu(gate) * value)
        return result

    def placed(self, tokens: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
        """The convolution over the volume; along depth it sees only the layers before.

        The published code reads the sequences in the order they lie in memory, also the columns along depth, whose
        tokens are then in other places than in the volume. The published weights have learned it so.
        """
        volume = tokens.reshape(*shape, -1).permute(0, 4, 1, 2, 3)
        convolved: Tensor = self.places(F.pad(volume, (1, 1, 1, 1, 2, 0)))
        return convolved.permute(0, 2, 3, 4, 1).reshape(tokens.shape)


class Attention(nn.Module):
    """Attention by the angle of queries and keys, scaled per channel; keys and values see tokens before the norm."""

    def __init__(self, config: CTViTConfig) -> None:
        super().__init__()
        inner = config.num_heads * config.head_width
        self.num_heads = config.num_heads
        self.norm = nn.LayerNorm(config.width, bias=False)
        self.query = nn.Linear(config.width, inner, bias=False)
        self.key_value = nn.Linear(config.width, 2 * inner, bias=False)
        self.query_scale = nn.Parameter(torch.ones(config.head_width))
        self.key_scale = nn.Parameter(torch.ones(config.head_width))
        self.out_proj = nn.Linear(inner, config.width, bias=False)

    def reset_parameters(self) -> None:
        """Scales of one."""
        nn.init.ones_(self.query_scale)
        nn.init.ones_(self.key_scale)

    def forward(self, tokens: Tensor, bias: Tensor | None) -> Tensor:
        """Tokens `(n, length, width)` in and out; `bias` is `(heads, length, length)`."""
        query = self.query(self.norm(tokens))
        key, value = self.key_value(tokens).chunk(2, dim=-1)
        query, key, value = (
            x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for x in (query, key, value)
        )
        query = F.normalize(query, dim=-1) * self.query_scale
        key = F.normalize(key, dim=-1) * self.key_scale
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=8.0)
        result: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return result


CT_CLIP_NAMES = {
    "enc_spatial_transformer.norm_out.gamma": "spatial_norm.weight",
    "enc_temporal_transformer.norm_out.gamma": "depth_norm.weight",
    **{
        f"to_patch_emb.{index + 1}.{name}": f"patch_embedding.{index}.{name}"
        for index in range(3)
        for name in ("weight", "bias")
    },
    **{
        f"spatial_rel_pos_bias.net.{theirs}.{name}": f"position_bias.{ours}.{name}"
        for theirs, ours in (("0.0", 0), ("1.0", 2), ("2", 4))
        for name in ("weight", "bias")
    },
}
CT_CLIP_LAYER_NAMES = {
    "0.dsconv.weight": "places.weight",
    "0.dsconv.bias": "places.bias",
    "1.norm.gamma": "attention.norm.weight",
    "1.to_q.weight": "attention.query.weight",
    "1.to_kv.weight": "attention.key_value.weight",
    "1.q_scale": "attention.query_scale",
    "1.k_scale": "attention.key_scale",
    "1.to_out.weight": "attention.out_proj.weight",
    "3.0.weight": "norm.weight",
    "3.0.bias": "norm.bias",
    "3.1.weight": "widen.weight",
    "3.4.weight": "narrow.weight",
}


def ct_clip_settings(state_dict: Mapping[str, Tensor], patch_size: tuple[int, int, int]) -> JsonObject:
    """The settings of `ct_vit` for CT-CLIP's weights, which come without a configuration.

    Args:
        state_dict: the weights, whatever prefix they carry.
        patch_size: voxels per token along depth, height and width: CT-CLIP's are 10, 20, 20.

    Raises:
        RecipeError: the weights are not CT-CLIP's, or made for other patches.
    """
    theirs = tensors_under(state_dict, "to_patch_emb.1.weight", "CT-CLIP")
    layers = {
        axis: len(
            {name.split(".")[2] for name in theirs if name.startswith(f"enc_{axis}_transformer.layers")}
        )
        for axis in ("spatial", "temporal")
    }
    codebook = theirs.get("vq._codebook.embed")
    head_width = len(theirs["enc_spatial_transformer.layers.0.1.q_scale"])
    voxels = len(theirs["to_patch_emb.1.weight"])
    if voxels % math.prod(patch_size):
        raise RecipeError(
            f"CT-CLIP: the weights read {voxels} voxels per patch, which patches of {patch_size} do not fill."
        )
    return {
        "type": "ct_vit",
        "patch_size": list(patch_size),
        "in_channels": voxels // math.prod(patch_size),
        "width": len(theirs["to_patch_emb.3.weight"]),
        "num_spatial_layers": layers["spatial"],
        "num_depth_layers": layers["temporal"],
        "num_heads": len(theirs["enc_spatial_transformer.layers.0.1.to_q.weight"]) // head_width,
        "head_width": head_width,
        "codebook_size": None if codebook is None else codebook.shape[-2],
    }


def ct_clip_weights(state_dict: Mapping[str, Tensor], config: CTViTConfig) -> dict[str, Tensor]:
    """The weights of a `CTViT` with these settings out of CT-CLIP's, whatever prefix they carry.

    Raises:
        RecipeError: a tensor is missing.
    """
    theirs = tensors_under(state_dict, "to_patch_emb.1.weight", "CT-CLIP")
    names = dict(CT_CLIP_NAMES)
    for axis, ours, count in (
        ("spatial", "spatial_layers", config.num_spatial_layers),
        ("temporal", "depth_layers", config.num_depth_layers),
    ):
        for index in range(count):
            for name, own in CT_CLIP_LAYER_NAMES.items():
                names[f"enc_{axis}_transformer.layers.{index}.{name}"] = f"{ours}.{index}.{own}"
    if config.codebook_size is None:
        return renamed(theirs, names, "CT-CLIP")
    weights = renamed(theirs, {**names, "vq._codebook.embed": "codebook"}, "CT-CLIP")
    return {**weights, "codebook": weights["codebook"].reshape(config.codebook_size, config.width)}

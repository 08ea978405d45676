"""A perceiver resampler: a few learned latents read all tokens, layer after layer.

Flamingo (arXiv 2204.14198); RadFM (arXiv 2308.02463) reads images and volumes with 32 latents in 6 layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import PositiveInt
from torch import Tensor, nn

from medmvl.models.connectors.attention_pooling import grid_positions
from medmvl.models.connectors.base import Connector, ConnectorConfig, real_tokens
from medmvl.models.features import Grid, VisualFeatures


class PerceiverConfig(ConnectorConfig):
    """Settings of a perceiver resampler."""

    type: Literal["perceiver"] = "perceiver"
    num_latents: PositiveInt = 32
    num_layers: PositiveInt = 6
    num_heads: PositiveInt = 8
    head_width: PositiveInt = 64
    position_embedding: bool = True
    """Add to the tokens a fixed code of where each lies; the latents cannot tell places apart without it."""

    def num_tokens(self, grid: Grid) -> int:
        """One per latent, whatever the grid."""
        return self.num_latents


class Perceiver(Connector):
    """Latents that attend to the tokens and to themselves."""

    Config = PerceiverConfig

    def __init__(self, config: PerceiverConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__(config, widths, output_width)
        self.settings = config
        self.latents = nn.Parameter(torch.empty(config.num_latents, widths[0]))
        self.layers = nn.ModuleList(PerceiverLayer(config, widths[0]) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(widths[0])
        self.linear = nn.Linear(widths[0], output_width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Random latents."""
        nn.init.normal_(self.latents)

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """One token per latent."""
        tokens = real_tokens(features, self.latents.dtype)
        if self.settings.position_embedding:
            tokens = tokens + grid_positions(features.grid, tokens)
        latents = self.latents.expand(len(tokens), -1, -1)
        readable = None
        if features.mask is not None:
            own = features.mask.new_ones(len(tokens), self.settings.num_latents)
            readable = torch.cat([features.mask, own], dim=1)[:, None, None]
        for layer in self.layers:
            latents = layer(latents, tokens, readable)
        connected: Tensor = self.linear(self.norm(latents))
        return connected


class PerceiverLayer(nn.Module):
    """Attention from latents to tokens and latents, then a feed-forward layer; norms first, no biases."""

    def __init__(self, config: PerceiverConfig, width: int) -> None:
        super().__init__()
        inner = config.num_heads * config.head_width
        self.num_heads = config.num_heads
        self.token_norm, self.latent_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key_value = nn.Linear(width, 2 * inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width, bias=False),
            nn.GELU(),
            nn.Linear(4 * width, width, bias=False),
        )

    def forward(self, latents: Tensor, tokens: Tensor, readable: Tensor | None) -> Tensor:
        """Latents `(batch, latents, width)` in and out; `readable` is `(batch, 1, 1, tokens + latents)`."""
        normed = self.latent_norm(latents)
        key, value = self.key_value(torch.cat([self.token_norm(tokens), normed], dim=1)).chunk(2, dim=-1)
        query, key, value = (self._heads(part) for part in (self.query(normed), key, value))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=readable)
        latents = latents + self.out(attended.transpose(1, 2).flatten(2))
        result: Tensor = latents + self.feed_forward(latents)
        return result

    def _heads(self, tokens: Tensor) -> Tensor:
        return tokens.reshape(*tokens.shape[:2], self.num_heads, -1).transpose(1, 2)

"""Learned queries attend to all tokens, so any grid gives the same number of tokens; then an MLP maps each.

MedM-VL-CT-Chest (arXiv 2504.04323) pools the slices of a CT this way, without norms; CT-CHAT
(arXiv 2403.17834) with norms.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from medmvl.errors import RecipeError
from medmvl.models.connectors.base import Connector, ConnectorConfig, mlp, real_tokens
from medmvl.models.encoders.slices import sinusoids
from medmvl.models.features import Grid, VisualFeatures


class AttentionPoolingConfig(ConnectorConfig):
    """Settings of attention pooling."""

    type: Literal["attention_pooling"] = "attention_pooling"
    num_queries: PositiveInt = 256
    num_heads: PositiveInt = 8
    num_layers: PositiveInt = 2
    """Linear layers of the MLP after the attention."""
    norm: bool = False
    """Layer norms on queries, on tokens, and before the MLP."""
    position_embedding: bool = False
    """Add to the keys a fixed code of where a token lies. Without it only the features themselves distinguish places."""

    def num_tokens(self, grid: Grid) -> int:
        """One per query, whatever the grid."""
        return self.num_queries


class AttentionPooling(Connector):
    """Cross-attention from learned queries."""

    Config = AttentionPoolingConfig

    def __init__(self, config: AttentionPoolingConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__(config, widths, output_width)
        width = widths[0]
        self.settings = config
        self.query = nn.Parameter(torch.empty(config.num_queries, width))
        self.attention = nn.MultiheadAttention(width, config.num_heads, batch_first=True)
        self.query_norm, self.token_norm, self.output_norm = (
            nn.LayerNorm(width) if config.norm else nn.Identity() for _ in range(3)
        )
        self.mlp = mlp(width, output_width, config.num_layers)
        self.reset_parameters()

    @classmethod
    def check_widths(cls, config: ConnectorConfig, widths: Sequence[int]) -> None:
        """Raises RecipeError where the heads do not divide the encoder's width."""
        super().check_widths(config, widths)
        assert isinstance(config, AttentionPoolingConfig)
        if widths[0] % config.num_heads:
            raise RecipeError(
                f"connector 'attention_pooling': the encoder's width {widths[0]} is not a multiple of "
                f"num_heads {config.num_heads}."
            )

    def reset_parameters(self) -> None:
        """Small random queries."""
        nn.init.trunc_normal_(self.query, std=0.02)

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """One token per query."""
        values = self.token_norm(real_tokens(features, self.query.dtype))
        keys = values
        if self.settings.position_embedding:
            keys = values + grid_positions(features.grid, values)
        queries = self.query_norm(self.query).expand(len(values), -1, -1)
        ignored = None if features.mask is None else ~features.mask
        pooled, _ = self.attention(queries, keys, values, key_padding_mask=ignored, need_weights=False)
        tokens: Tensor = self.mlp(self.output_norm(pooled))
        return tokens


def grid_positions(grid: Grid, like: Tensor) -> Tensor:
    """A fixed code `(tokens, width)` of each cell: a third of the channels for each axis."""
    width = like.shape[-1]
    parts = (width // 3, width // 3, width - 2 * (width // 3))
    codes = [
        sinusoids(torch.arange(n, device=like.device), part) for n, part in zip(grid, parts, strict=True)
    ]
    depth, height, across = codes[0][:, None, None], codes[1][None, :, None], codes[2][None, None, :]
    expanded = [code.expand(*grid, -1) for code in (depth, height, across)]
    return torch.cat(expanded, dim=-1).flatten(0, 2).to(like.dtype)

"""Neighbouring tokens are laid side by side in one wider token, then an MLP maps each; nothing is averaged away.

Space to depth, as InternVL (arXiv 2404.16821) and Idefics 3 (arXiv 2408.12637) shorten images; here also along depth.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import PositiveInt
from torch import Tensor

from medmvl.models.connectors.base import Connector, ConnectorConfig, mlp, real_tokens
from medmvl.models.connectors.blocks import check_factors, coarser, space_to_depth
from medmvl.models.features import Grid, VisualFeatures


class PixelShuffleConfig(ConnectorConfig):
    """Settings of space to depth."""

    type: Literal["pixel_shuffle"] = "pixel_shuffle"
    factors: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 2, 2)
    """Tokens joined along depth, height and width; the first must be 1 for images."""
    num_layers: PositiveInt = 2
    norm: bool = False
    """A layer norm before the first linear layer (as in InternVL): without it features whose mean is large learn slowly."""

    def check(self, grid: Grid) -> None:
        """Raises RecipeError where the factors do not divide the grid."""
        check_factors(self.type, self.factors, grid)

    def num_tokens(self, grid: Grid) -> int:
        """One per block."""
        self.check(grid)
        return math.prod(coarser(grid, self.factors))


class PixelShuffle(Connector):
    """Blocks of tokens side by side, then an MLP."""

    Config = PixelShuffleConfig

    def __init__(self, config: PixelShuffleConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__(config, widths, output_width)
        self.factors = config.factors
        self.mlp = mlp(
            widths[0] * math.prod(config.factors), output_width, config.num_layers, norm=config.norm
        )

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """One token per block, ordered depth, height, width."""
        self.check(features.grid)
        stream = real_tokens(features, next(self.mlp.parameters()).dtype)
        tokens: Tensor = self.mlp(space_to_depth(stream, features.grid, self.factors))
        return tokens

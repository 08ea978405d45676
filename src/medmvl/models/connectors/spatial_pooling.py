"""Neighbouring tokens are averaged, then an MLP maps each.

M3D-LaMed (arXiv 2404.00578) makes 4 x 8 x 8 tokens of 8 x 16 x 16 this way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F  # noqa: N812
from pydantic import PositiveInt
from torch import Tensor

from medmvl.errors import RecipeError
from medmvl.models.connectors.base import Connector, ConnectorConfig, mlp
from medmvl.models.features import Grid, VisualFeatures


class SpatialPoolingConfig(ConnectorConfig):
    """Settings of average pooling over the grid."""

    type: Literal["spatial_pooling"] = "spatial_pooling"
    factors: tuple[PositiveInt, PositiveInt, PositiveInt] = (2, 2, 2)
    """Tokens averaged along depth, height and width. An image has depth 1: the first does nothing there."""
    num_layers: PositiveInt = 2
    ceil: bool = False
    """Average what is left at the end of an axis that its factor does not divide, instead of refusing."""

    def kernel(self, grid: Grid) -> Grid:
        """The factors that apply to this grid."""
        return (1, *self.factors[1:]) if grid[0] == 1 else self.factors

    def pooled(self, grid: Grid) -> Grid:
        """The grid after pooling."""
        depth, height, width = (math.ceil(n / k) for n, k in zip(grid, self.kernel(grid), strict=True))
        return (depth, height, width)

    def check(self, grid: Grid) -> None:
        """Raises RecipeError where the factors do not divide the grid, unless `ceil` is set."""
        kernel = self.kernel(grid)
        if not self.ceil and any(n % k for n, k in zip(grid, kernel, strict=True)):
            raise RecipeError(
                f"connector 'spatial_pooling': factors {kernel} do not divide the grid {grid} of tokens "
                "(depth, height, width); choose factors that do, or set ceil: true."
            )

    def num_tokens(self, grid: Grid) -> int:
        """Cells of the pooled grid."""
        self.check(grid)
        return math.prod(self.pooled(grid))


class SpatialPooling(Connector):
    """The mean of each block of tokens, then an MLP."""

    Config = SpatialPoolingConfig

    def __init__(self, config: SpatialPoolingConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__(config, widths, output_width)
        self.settings = config
        self.mlp = mlp(widths[0], output_width, config.num_layers)

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """Tokens of the pooled grid, ordered depth, height, width."""
        self.check(features.grid)
        stream = features.streams[0].to(next(self.mlp.parameters()).dtype)
        volume = stream.transpose(1, 2).reshape(len(stream), -1, *features.grid)
        kernel = [min(k, n) for k, n in zip(self.settings.kernel(features.grid), features.grid, strict=True)]
        means = F.avg_pool3d(volume, kernel, ceil_mode=self.settings.ceil)
        tokens: Tensor = self.mlp(means.flatten(2).transpose(1, 2))
        return tokens

"""Neighbouring tokens are averaged, then an MLP maps each.

M3D-LaMed (arXiv 2404.00578) makes 4 x 8 x 8 tokens of 8 x 16 x 16 this way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import PositiveInt
from torch import Tensor

from medmvl.models.connectors.base import Connector, ConnectorConfig, mlp, real_tokens
from medmvl.models.connectors.blocks import check_factors, coarser
from medmvl.models.features import Grid, VisualFeatures


class SpatialPoolingConfig(ConnectorConfig):
    """Settings of average pooling over the grid."""

    type: Literal["spatial_pooling"] = "spatial_pooling"
    factors: tuple[PositiveInt, PositiveInt, PositiveInt] = (2, 2, 2)
    """Tokens averaged along depth, height and width. An image has depth 1: the first does nothing there."""
    num_layers: PositiveInt = 2
    norm: bool = False
    """A layer norm before the first linear layer (as in InternVL): without it features whose mean is large learn slowly."""
    remainder: Literal["refuse", "average", "drop"] = "refuse"
    """Rest at the end of an axis that its factor does not divide: an error, a smaller block, or left out."""

    def kernel(self, grid: Grid) -> Grid:
        """The factors that apply to this grid."""
        return (1, *self.factors[1:]) if grid[0] == 1 else self.factors

    def pooled(self, grid: Grid) -> Grid:
        """The grid after pooling."""
        kernel = self.kernel(grid)
        if self.remainder == "average":
            return coarser(grid, kernel)
        depth, height, width = (n // k for n, k in zip(grid, kernel, strict=True))
        return (depth, height, width)

    def check(self, grid: Grid) -> None:
        """Raises RecipeError where the factors do not divide the grid, unless `remainder` says what to do."""
        if self.remainder == "refuse" or not all(self.pooled(grid)):
            remedy = "choose factors that do, or set remainder: average"
            check_factors(self.type, self.kernel(grid), grid, remedy)

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
        self.mlp = mlp(widths[0], output_width, config.num_layers, norm=config.norm)

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """Tokens of the pooled grid, ordered depth, height, width."""
        self.check(features.grid)
        stream = real_tokens(features, next(self.mlp.parameters()).dtype)
        means = self._pooled(stream, features.grid)
        if features.mask is not None:  # the mean of the tokens that are there
            share = self._pooled(features.mask.unsqueeze(-1).to(stream), features.grid)
            means = means / share.clamp(min=torch.finfo(share.dtype).eps)
        tokens: Tensor = self.mlp(means)
        return tokens

    def _pooled(self, stream: Tensor, grid: Grid) -> Tensor:
        """The means `(batch, blocks, width)` of the blocks of a stream `(batch, tokens, width)`."""
        volume = stream.transpose(1, 2).reshape(len(stream), -1, *grid)
        kernel = [min(k, n) for k, n in zip(self.settings.kernel(grid), grid, strict=True)]
        whole = volume.float()  # PyTorch pools no bfloat16 on a CPU
        pooled = F.avg_pool3d(whole, kernel, ceil_mode=self.settings.remainder == "average")
        return pooled.to(stream.dtype).flatten(2).transpose(1, 2)

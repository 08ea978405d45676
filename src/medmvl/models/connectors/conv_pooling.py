"""A strided convolution makes one token of each block of neighbours, then an MLP maps it: pooling that is learned.

VILA-M3 (arXiv 2411.12915) shortens images by a convolution like this; here in two or three dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F  # noqa: N812
from pydantic import PositiveInt
from torch import Tensor, nn

from medmvl.models.connectors.base import Connector, ConnectorConfig, mlp, real_tokens
from medmvl.models.connectors.blocks import check_factors, coarser
from medmvl.models.features import Grid, VisualFeatures


class ConvPoolingConfig(ConnectorConfig):
    """Settings of convolutional pooling."""

    type: Literal["conv_pooling"] = "conv_pooling"
    factors: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 2, 2)
    """Kernel and stride along depth, height and width; the first must be 1 for images."""
    expansion: PositiveInt = 4
    """Width after the convolution, in widths of the encoder."""
    num_layers: PositiveInt = 2

    def check(self, grid: Grid) -> None:
        """Raises RecipeError where the factors do not divide the grid."""
        check_factors(self.type, self.factors, grid)

    def num_tokens(self, grid: Grid) -> int:
        """One per block."""
        self.check(grid)
        return math.prod(coarser(grid, self.factors))


class ConvPooling(Connector):
    """A convolution with stride, SiLU, then an MLP."""

    Config = ConvPoolingConfig

    def __init__(self, config: ConvPoolingConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__(config, widths, output_width)
        width = config.expansion * widths[0]
        self.conv = nn.Conv3d(widths[0], width, kernel_size=config.factors, stride=config.factors)
        self.mlp = mlp(width, output_width, config.num_layers)

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """One token per block, ordered depth, height, width."""
        self.check(features.grid)
        stream = real_tokens(features, self.conv.weight.dtype)
        volume = stream.transpose(1, 2).reshape(len(stream), -1, *features.grid)
        tokens: Tensor = self.mlp(F.silu(self.conv(volume)).flatten(2).transpose(1, 2))
        return tokens

"""One linear map per token (LLaVA, arXiv 2304.08485)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from medmvl.models.connectors.base import Connector, ConnectorConfig, real_tokens
from medmvl.models.features import VisualFeatures


class LinearConfig(ConnectorConfig):
    """No settings."""

    type: Literal["linear"] = "linear"

    @property
    def per_token(self) -> bool:
        """Yes."""
        return True


class Linear(Connector):
    """Each token on its own."""

    Config = LinearConfig

    def __init__(self, config: LinearConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__(config, widths, output_width)
        self.linear = nn.Linear(widths[0], output_width)

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """As many tokens as the grid has."""
        tokens: Tensor = self.linear(real_tokens(features, self.linear.weight.dtype))
        return tokens

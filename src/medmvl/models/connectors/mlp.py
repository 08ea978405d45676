"""A small network on each token (LLaVA 1.5, arXiv 2310.03744: two layers with GELU)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import PositiveInt
from torch import Tensor

from medmvl.models.connectors.base import Connector, ConnectorConfig, mlp, real_tokens
from medmvl.models.features import VisualFeatures


class MLPConfig(ConnectorConfig):
    """Settings of an MLP connector."""

    type: Literal["mlp"] = "mlp"
    num_layers: PositiveInt = 2
    norm: bool = False
    """A layer norm before the first linear layer (as in InternVL): without it features whose mean is large learn slowly."""

    @property
    def per_token(self) -> bool:
        """Yes."""
        return True


class MLP(Connector):
    """Each token on its own, through `num_layers` linear layers."""

    Config = MLPConfig

    def __init__(self, config: MLPConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__(config, widths, output_width)
        self.mlp = mlp(widths[0], output_width, config.num_layers, norm=config.norm)

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """As many tokens as the grid has."""
        tokens: Tensor = self.mlp(real_tokens(features, next(self.mlp.parameters()).dtype))
        return tokens

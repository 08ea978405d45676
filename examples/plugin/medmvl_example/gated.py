"""A gated linear unit on each token: one map says what, another how much (arXiv 2002.05202)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from medmvl.models.connectors import Connector, ConnectorConfig
from medmvl.models.features import VisualFeatures


class GatedConfig(ConnectorConfig):
    """Settings, as a recipe gives them: `image_connector: {type: gated, bias: false}`."""

    type: Literal["gated"] = "gated"
    bias: bool = True


class Gated(Connector):
    """Each token on its own, through a gate that it opens itself."""

    Config = GatedConfig

    def __init__(self, config: GatedConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__(config, widths, output_width)
        self.what = nn.Linear(widths[0], output_width, bias=config.bias)
        self.how_much = nn.Linear(widths[0], output_width, bias=config.bias)

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """`(batch, tokens, width)` to `(batch, tokens, output_width)`."""
        tokens = features.streams[0].to(self.what.weight.dtype)
        what: Tensor = self.what(tokens)
        return what * torch.sigmoid(self.how_much(tokens))

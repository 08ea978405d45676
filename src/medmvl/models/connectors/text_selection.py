"""An MLP on each token, and of these a fixed number: those most similar to the question that is asked.

What instruction-guided pruning does (such as Photon's, for volumes), without learning what to prune.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F  # noqa: N812
from pydantic import PositiveInt
from torch import Tensor

from medmvl.models.connectors.base import Connector, ConnectorConfig, mlp, real_tokens
from medmvl.models.features import Grid, VisualFeatures


class TextSelectionConfig(ConnectorConfig):
    """Settings of selection by the question."""

    type: Literal["text_selection"] = "text_selection"
    keep: PositiveInt = 128
    """Tokens given to the LLM; all of them where the grid has no more."""
    num_layers: PositiveInt = 2

    @property
    def guided_by_text(self) -> bool:
        """Yes."""
        return True

    def num_tokens(self, grid: Grid) -> int:
        """Those that are kept."""
        return min(self.keep, math.prod(grid))

    def kept_share(self, grid: Grid) -> float:
        """How many of the grid's tokens are kept."""
        return self.num_tokens(grid) / math.prod(grid)


class TextSelection(Connector):
    """Tokens nearest to the mean of the question's embedding, in the order of the grid."""

    Config = TextSelectionConfig

    def __init__(self, config: TextSelectionConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__(config, widths, output_width)
        self.mlp = mlp(widths[0], output_width, config.num_layers)

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """The kept tokens; gradients flow into these, the choice itself has none."""
        assert text is not None, "text_selection reads the question"
        tokens: Tensor = self.mlp(real_tokens(features, next(self.mlp.parameters()).dtype))
        question = text.mean(dim=1, keepdim=True).to(tokens.dtype)
        likeness = F.cosine_similarity(tokens.detach(), question.detach(), dim=-1)
        if features.mask is not None:
            likeness = likeness.masked_fill(~features.mask, -2.0)
        chosen = likeness.topk(self.num_tokens(features.grid), dim=1).indices.sort(dim=1).values
        return tokens.gather(1, chosen.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))

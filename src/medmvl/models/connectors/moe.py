"""A soft mixture of experts: every expert maps every token, a router gives each output its weight.

Uni-Med (arXiv 2409.17508) connects like this, its router reading each token next to a token of the task, so that tasks
that would disturb one another use different experts. It learns one for each of five tasks; here it is a map of the
question, since a question names no task. It joins four patches first: `factors: [1, 1, 4]`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from medmvl.models.connectors.base import Connector, ConnectorConfig, mlp, real_tokens
from medmvl.models.connectors.blocks import check_factors, coarser, space_to_depth
from medmvl.models.features import Grid, VisualFeatures


class MoEConfig(ConnectorConfig):
    """Settings of a soft mixture of experts."""

    type: Literal["moe"] = "moe"
    num_experts: PositiveInt = 5
    num_layers: PositiveInt = 2
    """Linear layers of an expert."""
    router: Literal["sigmoid", "softmax"] = "sigmoid"
    """Weights of a token's experts: sigmoids divided by their sum (Uni-Med), or a softmax."""
    task_width: NonNegativeInt = 0
    """Width of a task token that the router reads next to each visual token: a map of the question. 0: it reads none."""
    factors: tuple[PositiveInt, PositiveInt, PositiveInt] = (1, 1, 1)
    """Tokens joined side by side along depth, height and width before the experts."""

    @property
    def per_token(self) -> bool:
        """Yes, unless tokens are joined."""
        return self.factors == (1, 1, 1)

    @property
    def guided_by_text(self) -> bool:
        """Where there is a task token."""
        return self.task_width > 0

    def check(self, grid: Grid) -> None:
        """Raises RecipeError where the factors do not divide the grid."""
        check_factors(self.type, self.factors, grid)

    def num_tokens(self, grid: Grid) -> int:
        """One per block."""
        self.check(grid)
        return math.prod(coarser(grid, self.factors))


class MoE(Connector):
    """Experts whose outputs are averaged with weights per token."""

    Config = MoEConfig

    def __init__(self, config: MoEConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__(config, widths, output_width)
        self.settings = config
        width = widths[0] * math.prod(config.factors)
        self.experts = nn.ModuleList(
            mlp(width, output_width, config.num_layers) for _ in range(config.num_experts)
        )
        self.task = nn.Linear(output_width, config.task_width) if config.task_width else None
        reads = config.task_width + width
        self.router = nn.Sequential(
            nn.Linear(reads, 4 * reads), nn.GELU(), nn.Linear(4 * reads, config.num_experts)
        )

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """One token per block, ordered depth, height, width."""
        self.check(features.grid)
        stream = real_tokens(features, next(self.router.parameters()).dtype)
        tokens = space_to_depth(stream, features.grid, self.settings.factors)
        weights = self.weights(tokens, text)
        answers = torch.stack([expert(tokens) for expert in self.experts], dim=-1)
        return (answers * weights.unsqueeze(-2)).sum(dim=-1)

    def weights(self, tokens: Tensor, text: Tensor | None = None) -> Tensor:
        """How much each expert counts for each token, `(batch, tokens, experts)`, together 1."""
        if self.task is not None:
            assert text is not None, "a router with a task token reads the question"
            task = self.task(text.mean(dim=1, keepdim=True).to(tokens.dtype))
            tokens = torch.cat([task.expand(-1, tokens.shape[1], -1), tokens], dim=-1)
        scores = self.router(tokens)
        if self.settings.router == "softmax":
            return torch.softmax(scores, dim=-1)
        gates = torch.sigmoid(scores)
        return gates / gates.sum(dim=-1, keepdim=True)

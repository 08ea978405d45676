"""The question times the image: tokens that say what this visual has to do with this question.

Low-rank bilinear pooling with attention, MLB (arXiv 1610.04325): question and cells are projected to one rank, squashed by tanh
and multiplied; each glimpse is a softmax over the cells. A product says what a sum of both cannot: *is there* times *fluid*.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from medmvl.models.connectors.base import Connector, ConnectorConfig, real_tokens
from medmvl.models.features import Grid, VisualFeatures


class BilinearConfig(ConnectorConfig):
    """Settings of low-rank bilinear pooling."""

    type: Literal["bilinear"] = "bilinear"
    rank: PositiveInt = 256
    """Products of question and cell."""
    glimpses: PositiveInt = 4
    """Tokens given to the LLM, each with an attention of its own over the cells."""
    dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of features, text and products that is left out in training: few questions are learned by heart otherwise."""

    @property
    def guided_by_text(self) -> bool:
        """Yes."""
        return True

    def num_tokens(self, grid: Grid) -> int:
        """One per glimpse, whatever the grid."""
        return self.glimpses


class Bilinear(Connector):
    """Products of the question and what each glimpse sees, then a linear map and a norm."""

    Config = BilinearConfig

    def __init__(self, config: BilinearConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__(config, widths, output_width)
        self.cell_norm, self.word_norm = nn.LayerNorm(widths[0]), nn.LayerNorm(output_width)
        self.cell = nn.Linear(widths[0], config.rank)
        self.word = nn.Linear(output_width, config.rank)
        self.importance = nn.Linear(config.rank, 1, bias=False)
        self.glimpse = nn.Linear(config.rank, config.glimpses, bias=False)
        self.answer = nn.Linear(config.rank, output_width)
        self.asked = nn.Linear(config.rank, output_width, bias=False)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(output_width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Tokens about as large as the embeddings of words, which are small."""
        nn.init.constant_(self.norm.weight, 0.1)

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """One token per glimpse."""
        assert text is not None, "bilinear reads the question"
        tokens = real_tokens(features, self.cell.weight.dtype)
        question = self._question(text.to(tokens.dtype))
        cells = torch.tanh(self.cell(self.dropout(self.cell_norm(tokens))))
        joint = question[:, None] * cells
        scores = self.glimpse(self.dropout(joint))
        if features.mask is not None:
            scores = scores.masked_fill(~features.mask[..., None], torch.finfo(scores.dtype).min)
        seen = torch.einsum("bcg,bcr->bgr", scores.softmax(dim=1), joint)
        asked = self.asked(self.dropout(question))[:, None]
        found: Tensor = self.norm(self.answer(self.dropout(seen)) + asked)
        return found

    def _question(self, text: Tensor) -> Tensor:
        """`(batch, rank)`: the words, weighted by their importance."""
        words = torch.tanh(self.word(self.dropout(self.word_norm(text))))
        weights = self.importance(words).softmax(dim=1)
        question: Tensor = (weights * words).sum(dim=1)
        return question

"""A Q-Former: learned queries that attend to one another and, every other layer, to the visual tokens.

BLIP-2 (arXiv 2301.12597); the transformer is Hugging Face's own, so its weights are named as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from medmvl.models.connectors.base import Connector, ConnectorConfig, real_tokens
from medmvl.models.features import Grid, VisualFeatures


class QFormerConfig(ConnectorConfig):
    """Settings of a Q-Former; the defaults are BLIP-2's."""

    type: Literal["q_former"] = "q_former"
    num_queries: PositiveInt = 32
    width: PositiveInt = 768
    num_layers: PositiveInt = 12
    num_heads: PositiveInt = 12
    cross_attention_frequency: PositiveInt = 2
    """Interval of layers that read the visual tokens, beginning with the first."""
    text: bool = False
    """Put the question's embedding next to the queries, as InstructBLIP (arXiv 2305.06500) does."""

    @property
    def guided_by_text(self) -> bool:
        """As `text`."""
        return self.text

    @model_validator(mode="after")
    def _fits(self) -> QFormerConfig:
        if self.width % self.num_heads:
            raise ValueError(f"width {self.width} is not a multiple of num_heads {self.num_heads}.")
        return self

    def num_tokens(self, grid: Grid) -> int:
        """One per query, whatever the grid."""
        return self.num_queries


class QFormer(Connector):
    """Learned queries through Hugging Face's `Blip2QFormerModel`, then a linear map."""

    Config = QFormerConfig

    def __init__(self, config: QFormerConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__(config, widths, output_width)
        from transformers import Blip2QFormerConfig, Blip2QFormerModel

        self.query = nn.Parameter(torch.empty(config.num_queries, config.width))
        self.q_former = Blip2QFormerModel(
            Blip2QFormerConfig(
                hidden_size=config.width,
                intermediate_size=4 * config.width,
                num_hidden_layers=config.num_layers,
                num_attention_heads=config.num_heads,
                cross_attention_frequency=config.cross_attention_frequency,
                encoder_hidden_size=widths[0],
                use_qformer_text_input=config.text,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
            )
        )
        self.text = nn.Linear(output_width, config.width) if config.text else None
        if config.text:  # what the last layer makes of the text goes nowhere
            last = self.q_former.encoder.layer[-1]
            last.intermediate, last.output = nn.Identity(), _Passed()
        self.linear = nn.Linear(config.width, output_width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Small random queries."""
        nn.init.normal_(self.query, std=0.02)

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """One token per query."""
        tokens = real_tokens(features, self.query.dtype)
        queries = self.query.expand(len(tokens), -1, -1)
        if self.text is not None:
            assert text is not None, "this Q-Former reads the question"
            queries = torch.cat([queries, self.text(text.to(tokens.dtype))], dim=1)
        read = self.q_former(
            query_embeds=queries,
            query_length=len(self.query),
            encoder_hidden_states=tokens,
            encoder_attention_mask=self._added(features.mask, tokens),
        )
        connected: Tensor = self.linear(read.last_hidden_state[:, : len(self.query)])
        return connected

    def _added(self, mask: Tensor | None, tokens: Tensor) -> Tensor | None:
        """What is added to the scores `(batch, 1, queries, tokens)`; transformers' own mask would count text as queries."""
        if mask is None:
            return None
        scores = tokens.new_zeros(mask.shape).masked_fill(~mask, torch.finfo(tokens.dtype).min)
        return scores[:, None, None].expand(-1, -1, len(self.query), -1)


class _Passed(nn.Module):
    """Stands for a layer that would be computed for nothing."""

    def forward(self, hidden: Tensor, given: Tensor) -> Tensor:
        """What was given."""
        return given

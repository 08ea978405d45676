"""Slices weighted by the question: tokens of the volume, pooled, and one set of slice tokens, the weighted mean of all slices.

Med-2E3 (arXiv 2411.12783), text-guided inter-slice scoring: the score of a slice is the product of its mean token and the
projected mean of the question's embedding, divided by a temperature; a softmax over the slices gives the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn

from medmvl.models.connectors.base import Connector, mlp, real_tokens
from medmvl.models.connectors.spatial_pooling import SpatialPooling, SpatialPoolingConfig
from medmvl.models.features import Grid, VisualFeatures


class TextGuidedSlicesConfig(SpatialPoolingConfig):
    """Settings of the pooling of the volume's tokens, as `spatial_pooling`, and of the slices."""

    type: Literal["text_guided_slices"] = "text_guided_slices"  # type: ignore[assignment]
    slice_tokens: tuple[PositiveInt, PositiveInt] = (16, 16)
    """Tokens of a slice along height and width: its own are averaged to these."""
    temperature: PositiveFloat = 5.0

    @property
    def guided_by_text(self) -> bool:
        """Yes."""
        return True

    def num_tokens(self, grid: Grid) -> int:
        """The pooled volume and one set of slice tokens."""
        return super().num_tokens(grid) + self.slice_tokens[0] * self.slice_tokens[1]


class TextGuidedSlices(Connector):
    """For encoders of two streams: the volume's, then one with one layer per slice."""

    Config = TextGuidedSlicesConfig
    num_streams = 2

    def __init__(self, config: TextGuidedSlicesConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__(config, widths, output_width)
        self.settings = config
        self.volume = SpatialPooling(config, widths[:1], output_width)
        self.slice_mlp = mlp(widths[1], output_width, config.num_layers)
        self.question = nn.Linear(output_width, output_width, bias=False)

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """The volume's tokens, then those of the slices, weighted by the question."""
        assert text is not None, "text_guided_slices reads the question"
        whole = VisualFeatures(features.streams[:1], features.grid, mask=features.mask)
        slices = self.slices(features)
        weights = self.slice_weights(slices, text)
        guided = torch.einsum("bs,bstw->btw", weights, slices)
        return torch.cat([self.volume(whole), guided], dim=1)

    def slices(self, features: VisualFeatures) -> Tensor:
        """The connected tokens of every slice: `(batch, slices, tokens, output_width)`."""
        depth, height, width = features.stream_grids[1]
        stream = real_tokens(features, self.question.weight.dtype, stream=1)
        maps = stream.mT.reshape(len(stream), -1, depth, height, width)
        pooled = F.adaptive_avg_pool3d(maps, (depth, *self.settings.slice_tokens))
        tokens: Tensor = self.slice_mlp(pooled.flatten(3).permute(0, 2, 3, 1))
        return tokens

    def slice_weights(self, slices: Tensor, text: Tensor) -> Tensor:
        """How much each slice counts for the question: `(batch, slices)`, together 1."""
        question = self.question(text.to(slices.dtype).mean(dim=1))
        scores = torch.einsum("bsw,bw->bs", slices.mean(dim=2), question)
        return (scores / self.settings.temperature).softmax(dim=1)

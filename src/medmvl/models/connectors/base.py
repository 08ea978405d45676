"""A connector turns `VisualFeatures` into tokens of the LLM's width, `num_tokens(grid)` of them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from medmvl.errors import RecipeError
from medmvl.models.features import Grid, VisualFeatures
from medmvl.models.parts import PartConfig


class ConnectorConfig(PartConfig):
    """What is known of a connector before it is built. By default every token of the grid gives one."""

    @property
    def per_token(self) -> bool:
        """Whether each token of the grid gives one output token independent of the others, so that some can be left out."""
        return False

    @property
    def guided_by_text(self) -> bool:
        """Whether it reads the question that a visual is asked about; then each question connects a visual again."""
        return False

    def kept_share(self, grid: Grid) -> float:
        """The share of the grid's tokens that it does not leave out; pooling and queries leave none out."""
        return 1.0

    def check(self, grid: Grid) -> None:
        """Raises RecipeError, with the reason, for a grid that this connector cannot take."""

    def check_grids(self, grids: Sequence[Grid]) -> None:
        """As `check`, for the grids of all streams; connectors of one stream look at the first."""
        self.check(grids[0])

    def num_tokens(self, grid: Grid) -> int:
        """Tokens given to the LLM for a grid of features. Raises RecipeError as `check` does."""
        self.check(grid)
        return math.prod(grid)


class Connector(nn.Module, ABC):
    """Features in, `(batch, num_tokens(grid), output_width)` out."""

    Config: ClassVar[type[ConnectorConfig]]
    num_streams: int | None = 1
    """Streams that it reads; None for any number."""

    def __init__(self, config: ConnectorConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__()
        self.check_widths(config, widths)
        self.part_config = config
        self.output_width = output_width

    @classmethod
    def check_widths(cls, config: ConnectorConfig, widths: Sequence[int]) -> None:
        """Raises RecipeError, with the reason, for an encoder whose streams this connector cannot take."""
        if cls.num_streams not in (None, len(widths)):
            raise RecipeError(
                f"connector {config.type!r} reads {cls.num_streams} stream(s) of features, the encoder "
                f"gives {len(widths)}; choose another connector or encoder."
            )

    def train(self, mode: bool = True) -> Self:
        """As PyTorch's, but what is frozen stays in evaluation mode."""
        return super().train(mode and any(weight.requires_grad for weight in self.parameters()))

    def check(self, grid: Grid) -> None:
        """Raises RecipeError, with the reason, for a grid that this connector cannot take."""
        self.part_config.check(grid)

    def num_tokens(self, grid: Grid) -> int:
        """Tokens given to the LLM for a grid of features. Raises RecipeError as `check` does."""
        return self.part_config.num_tokens(grid)

    @abstractmethod
    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """The visual tokens.

        Args:
            features: of images or volumes of one shape.
            text: the embedded question `(batch, length, output_width)`, at least one token long, for connectors
                that are `guided_by_text`; None for others.
        """


def real_tokens(features: VisualFeatures, dtype: torch.dtype, stream: int = 0) -> Tensor:
    """A stream `(batch, tokens, width)`, with zeros where the mask, if the stream has its grid, knows no token."""
    tokens = features.streams[stream].to(dtype)
    if features.mask is None or features.stream_grids[stream] != features.grid:
        return tokens
    return tokens.masked_fill(~features.mask.unsqueeze(-1), 0)


def mlp(input_width: int, output_width: int, num_layers: int, *, norm: bool = False) -> nn.Sequential:
    """`num_layers` linear layers with GELU between them, hidden ones as wide as the output (LLaVA 1.5).

    With `norm` a layer norm comes first (InternVL, arXiv 2312.14238).
    """
    layers: list[nn.Module] = [nn.LayerNorm(input_width)] if norm else []
    layers.append(nn.Linear(input_width, output_width))
    for _ in range(num_layers - 1):
        layers += [nn.GELU(), nn.Linear(output_width, output_width)]
    return nn.Sequential(*layers)

"""An MLP-Mixer on every stream of features, fine and coarse ones, which are then put one after the other.

Med3DVLM (arXiv 2503.20047) mixes the last two stages of its encoder like this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import PositiveInt, model_validator
from torch import Tensor, nn

from medmvl.errors import RecipeError
from medmvl.models.connectors.base import Connector, ConnectorConfig, mlp, real_tokens
from medmvl.models.features import Grid, VisualFeatures


class MLPMixerConfig(ConnectorConfig):
    """Settings of mixers; the defaults are Med3DVLM's: the last two stages of DCFormer on 128 x 256 x 256 voxels."""

    type: Literal["mlp_mixer"] = "mlp_mixer"
    grids: tuple[tuple[PositiveInt, PositiveInt, PositiveInt], ...] = ((4, 8, 8), (2, 4, 4))
    """The grid of each stream. Mixing is over a fixed number of tokens: the connector takes no other grids."""
    tokens: tuple[tuple[PositiveInt, ...], ...] = ((192, 128), (64, 128))
    """Tokens that each mixing layer of a stream gives, stream by stream."""
    num_layers: PositiveInt = 2
    """Linear layers of the MLPs in a mixing layer."""

    @model_validator(mode="after")
    def _fits(self) -> MLPMixerConfig:
        if not self.tokens or len(self.grids) != len(self.tokens):
            raise ValueError("grids and tokens have one entry per stream, at least one.")
        if not all(self.tokens) or len({len(layers) for layers in self.tokens}) > 1:
            raise ValueError(f"tokens {self.tokens}: every stream has as many mixing layers, at least one.")
        return self

    def check_grids(self, grids: Sequence[Grid]) -> None:
        """Raises RecipeError for any grids but its own."""
        if tuple(grids) != self.grids:
            wanted = [list(grid) for grid in grids]
            raise RecipeError(
                f"connector 'mlp_mixer' mixes the tokens of the grids {self.grids}, but the encoder gives "
                f"{tuple(grids)} (depth, height, width of each stream); set grids to {wanted}."
            )

    def check(self, grid: Grid) -> None:
        """Raises RecipeError for another grid of the first stream."""
        self.check_grids((grid, *self.grids[1:]))

    def num_tokens(self, grid: Grid) -> int:
        """Those of the last layer of all streams."""
        self.check(grid)
        return sum(layers[-1] for layers in self.tokens)


class MLPMixer(Connector):
    """Streams mixed over tokens and over channels, one after the other."""

    Config = MLPMixerConfig
    num_streams = None

    def __init__(self, config: MLPMixerConfig, widths: Sequence[int], output_width: int) -> None:
        super().__init__(config, widths, output_width)
        self.settings = config
        self.mixers = nn.ModuleList(
            nn.Sequential(*_mixing_layers(count, width, layers, output_width, config.num_layers))
            for count, width, layers in zip(map(math.prod, config.grids), widths, config.tokens, strict=True)
        )

    @classmethod
    def check_widths(cls, config: ConnectorConfig, widths: Sequence[int]) -> None:
        """Raises RecipeError where the encoder has more or fewer streams than the settings."""
        assert isinstance(config, MLPMixerConfig)
        if len(widths) != len(config.tokens):
            raise RecipeError(
                f"connector 'mlp_mixer': tokens and grids are for {len(config.tokens)} stream(s) of features, the "
                f"encoder gives {len(widths)}; give one entry per stream, or choose an encoder with as many."
            )

    def forward(self, features: VisualFeatures, text: Tensor | None = None) -> Tensor:
        """The tokens of the first stream, then those of the next."""
        self.settings.check_grids(features.stream_grids)
        mixed = [
            mixer(real_tokens(features, next(mixer.parameters()).dtype, index))
            for index, mixer in enumerate(self.mixers)
        ]
        return torch.cat(mixed, dim=1)


def _mixing_layers(
    count: int, width: int, counts: Sequence[int], output_width: int, num_layers: int
) -> list[MixingLayer]:
    """Layers that bring `count` tokens of `width` to the last of `counts`, the width doubling up to the output's."""
    widths = [max(1, output_width // 2**power) for power in reversed(range(len(counts)))]
    steps = zip([count, *counts[:-1]], counts, [width, *widths[:-1]], widths, strict=True)
    return [MixingLayer(*step, num_layers) for step in steps]


class MixingLayer(nn.Module):
    """Norm, an MLP over tokens, norm, an MLP over channels; without residuals, since both numbers change."""

    def __init__(self, count: int, output_count: int, width: int, output_width: int, num_layers: int) -> None:
        super().__init__()
        self.token_norm, self.channel_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.tokens = mlp(count, output_count, num_layers)
        self.channels = mlp(width, output_width, num_layers)

    def forward(self, tokens: Tensor) -> Tensor:
        """`(batch, count, width)` to `(batch, output_count, output_width)`."""
        mixed = self.tokens(self.token_norm(tokens).transpose(1, 2)).transpose(1, 2)
        result: Tensor = self.channels(self.channel_norm(mixed))
        return result

"""The connectors: a part is one file and one line in the table."""

from __future__ import annotations

from collections.abc import Sequence

from medmvl.json_types import JsonMapping, JsonObject
from medmvl.models.connectors.attention_pooling import AttentionPooling
from medmvl.models.connectors.base import Connector, ConnectorConfig
from medmvl.models.connectors.bilinear import Bilinear
from medmvl.models.connectors.conv_pooling import ConvPooling
from medmvl.models.connectors.linear import Linear
from medmvl.models.connectors.mlp import MLP
from medmvl.models.connectors.mlp_mixer import MLPMixer
from medmvl.models.connectors.moe import MoE
from medmvl.models.connectors.perceiver import Perceiver
from medmvl.models.connectors.pixel_shuffle import PixelShuffle
from medmvl.models.connectors.q_former import QFormer
from medmvl.models.connectors.spatial_pooling import SpatialPooling
from medmvl.models.connectors.text_guided import TextGuidedSlices
from medmvl.models.connectors.text_selection import TextSelection
from medmvl.models.features import Grid
from medmvl.models.parts import parse_part, part_class

__all__ = [
    "CONNECTORS", "Connector", "ConnectorConfig",
    "build_connector", "check_connector", "parse_connector_config", "validate_connector_config",
]  # fmt: skip

CONNECTORS: dict[str, type[Connector]] = {
    "linear": Linear,
    "mlp": MLP,
    "pixel_shuffle": PixelShuffle,
    "spatial_pooling": SpatialPooling,
    "conv_pooling": ConvPooling,
    "attention_pooling": AttentionPooling,
    "perceiver": Perceiver,
    "q_former": QFormer,
    "mlp_mixer": MLPMixer,
    "moe": MoE,
    "text_selection": TextSelection,
    "text_guided_slices": TextGuidedSlices,
    "bilinear": Bilinear,
}


def parse_connector_config(config: JsonMapping) -> ConnectorConfig:
    """The typed settings of a connector: `check(grid)` and `num_tokens(grid)` need nothing more.

    Raises:
        RecipeError: an unknown type or key, or settings that do not fit together.
    """
    return parse_part(config, {name: part.Config for name, part in CONNECTORS.items()}, "connector")


def validate_connector_config(config: JsonMapping) -> JsonObject:
    """The settings with all defaults filled in. Raises RecipeError as `parse_connector_config` does."""
    return parse_connector_config(config).to_dict()


def check_connector(config: ConnectorConfig, widths: Sequence[int], grids: Sequence[Grid]) -> None:
    """Whether a connector can take what an encoder gives, before either is built.

    Args:
        config: typed settings of the connector.
        widths: widths of the encoder's streams.
        grids: grids of the encoder's streams, for pixels of some size.

    Raises:
        RecipeError: it cannot; the message says why.
    """
    part_class(config.type, CONNECTORS, "connector").check_widths(config, widths)
    config.check_grids(grids)


def build_connector(config: JsonMapping, features_width: Sequence[int], output_width: int) -> Connector:
    """A connector with fresh weights, from the encoder's streams of these widths to the LLM's width."""
    parsed = parse_connector_config(config)
    return part_class(parsed.type, CONNECTORS, "connector")(parsed, features_width, output_width)

"""Tiny connectors as configurations, and features for them."""

from __future__ import annotations

import math
from typing import Any

import torch

from medmvl.models.connectors import Connector, build_connector
from medmvl.models.features import Grid, VisualFeatures
from tests.factories.parts import randomise

WIDTH, OUTPUT = 12, 10
IMAGE_GRID, VOLUME_GRID = (1, 4, 4), (2, 4, 4)

CONNECTORS: dict[str, dict[str, Any]] = {
    "linear": {"type": "linear"},
    "mlp": {"type": "mlp", "num_layers": 3},
    "mlp with a norm": {"type": "mlp", "norm": True},
    "pixel_shuffle": {"type": "pixel_shuffle", "factors": [1, 2, 2]},
    "spatial_pooling": {"type": "spatial_pooling", "factors": [2, 2, 2]},
    "spatial_pooling with a norm": {"type": "spatial_pooling", "factors": [2, 2, 2], "norm": True},
    "conv_pooling": {"type": "conv_pooling", "factors": [1, 2, 2], "expansion": 2},
    "attention_pooling": {"type": "attention_pooling", "num_queries": 5, "num_heads": 2},
    "attention_pooling with norms and positions": {
        "type": "attention_pooling", "num_queries": 5, "num_heads": 2, "norm": True, "position_embedding": True,
    },
    "perceiver": {
        "type": "perceiver", "num_latents": 5, "num_layers": 2, "num_heads": 2, "head_width": 4,
    },
    "q_former": {"type": "q_former", "num_queries": 5, "width": 8, "num_layers": 2, "num_heads": 2},
    "q_former with text": {
        "type": "q_former", "num_queries": 5, "width": 8, "num_layers": 3, "num_heads": 2, "text": True,
    },
    "mlp_mixer of images": {"type": "mlp_mixer", "grids": [IMAGE_GRID], "tokens": [[6, 5]]},
    "mlp_mixer of volumes": {"type": "mlp_mixer", "grids": [VOLUME_GRID], "tokens": [[6, 5]]},
    "moe": {"type": "moe", "num_experts": 3, "router": "sigmoid"},
    "moe of joined tokens": {"type": "moe", "num_experts": 3, "router": "softmax", "factors": [1, 1, 4]},
    "moe with a task token": {"type": "moe", "num_experts": 3, "task_width": 4},
    "text_selection": {"type": "text_selection", "keep": 7},
    "bilinear": {"type": "bilinear", "rank": 8, "glimpses": 3, "dropout": 0},
}  # fmt: skip
"""Every connector, some in several ways, for encoders that give `IMAGE_GRID` and `VOLUME_GRID`."""


def features_of(grid: Grid, batch: int = 2, mask: torch.Tensor | None = None) -> VisualFeatures:
    """Random features of one stream."""
    return VisualFeatures((torch.randn(batch, math.prod(grid), WIDTH),), grid, mask)


def question(connector: Connector, batch: int = 2) -> torch.Tensor | None:
    """An embedded question of three tokens, where it guides the connector."""
    if not connector.part_config.guided_by_text:
        return None
    return torch.randn(1, 3, connector.output_width).expand(batch, -1, -1)


def built(config: dict[str, Any], widths: tuple[int, ...] = (WIDTH,)) -> Connector:
    """A connector all of whose weights are random."""
    torch.manual_seed(0)
    connector = build_connector(config, widths, OUTPUT)
    randomise(connector)
    return connector.eval()

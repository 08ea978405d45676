"""Tiny encoders and connectors as configurations, and how to shake their weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

TOWER: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 16,
    "patch_size": 4,
    "num_channels": 3,
}
TOWERS: dict[str, dict[str, Any]] = {
    "clip_vision_model": {"model_type": "clip_vision_model", **TOWER},
    "siglip_vision_model": {"model_type": "siglip_vision_model", **TOWER},
    "vit": {"model_type": "vit", **TOWER},
    "dinov2": {"model_type": "dinov2", **TOWER},
    "dinov2_with_registers": {"model_type": "dinov2_with_registers", "num_register_tokens": 2, **TOWER},
}
TRANSFORMER: dict[str, Any] = {"width": 24, "num_layers": 2, "num_heads": 2}


def hf_vision(model_type: str = "siglip_vision_model", **settings: Any) -> dict[str, Any]:
    """A tiny Hugging Face tower: 16 x 16 colour pixels, 4 x 4 patches, width 16, three layers."""
    return {"type": "hf_vision", "config": TOWERS[model_type], **settings}


def vit2d(**settings: Any) -> dict[str, Any]:
    """A tiny 2D transformer: 16 x 16 grey pixels, 4 x 4 patches, width 24."""
    return {"type": "vit2d", "size": [16, 16], "patch_size": [4, 4], **TRANSFORMER, **settings}


def vit3d(**settings: Any) -> dict[str, Any]:
    """A tiny 3D transformer: 8 x 16 x 16 voxels, a grid of 4 x 4 x 4 patches, width 24."""
    return {"type": "vit3d", "size": [8, 16, 16], "patch_size": [2, 4, 4], **TRANSFORMER, **settings}


def slices(**settings: Any) -> dict[str, Any]:
    """Slices through a tiny 2D transformer of its own."""
    return {"type": "slices", "encoder": vit2d(), **settings}


CONNECTORS: dict[str, dict[str, Any]] = {
    "linear": {"type": "linear"},
    "mlp": {"type": "mlp", "num_layers": 3},
    "spatial_pooling": {"type": "spatial_pooling", "factors": [2, 2, 2], "remainder": "average"},
    "attention_pooling": {
        "type": "attention_pooling",
        "num_queries": 5,
        "num_heads": 2,
        "norm": True,
        "position_embedding": True,
    },
}


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Every weight random, so that none is zero or one by its initialisation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))


def weights_without_gradient(module: nn.Module) -> list[str]:
    """Names of the parameters that a backward pass has not reached, or reached with zeros only.

    A bias of keys shifts all scores of a query alike, so its gradient may be zero: it must only be reached.
    """
    return [
        name
        for name, weight in module.named_parameters()
        if weight.grad is None or not (weight.grad.any() or name.endswith(("key.bias", "k_proj.bias")))
    ]

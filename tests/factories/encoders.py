"""Tiny encoders in the shapes of other projects, as configurations, and their checkpoints under the published names."""

from __future__ import annotations

from typing import Any

SIZE = (8, 32, 32)
"""Depth, height and width that the tiny volume encoders are made for."""

M3D_CLIP: dict[str, Any] = {
    "in_channels": 2, "img_size": [8, 32, 16], "patch_size": [2, 8, 4], "hidden_size": 24, "mlp_dim": 40,
    "num_layers": 3, "num_heads": 2,
}  # fmt: skip
"""The `config.json` of a tiny M3D-CLIP, no two lengths alike."""

MEDM_CLIP: dict[str, Any] = {
    "frame_size": 8, "frame_patch_size": 2, "image_size": 32, "image_patch_size": 8, "hidden_size": 24,
    "image_mlp_dim": 40, "image_num_layers": 3, "image_num_heads": 2,
}  # fmt: skip
"""The `config.json` of a tiny MedM-CLIP."""

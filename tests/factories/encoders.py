"""Tiny encoders in the shapes of other projects, as configurations, and their checkpoints under the published names."""

from __future__ import annotations

from typing import Any

from tests.factories import parts

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

_TOWER: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2,
    "patch_size": 4, "num_channels": 3,
}  # fmt: skip
TOWERS: dict[str, dict[str, Any]] = {
    "siglip2_vision_model": {"model_type": "siglip2_vision_model", "num_patches": 16, **_TOWER},
    "dinov3_vit": {"model_type": "dinov3_vit", "num_register_tokens": 2, "image_size": 16, **_TOWER},
    "convnext": {
        "model_type": "convnext", "hidden_sizes": [6, 8, 10, 12], "depths": [1, 2, 1, 1],
        "layer_scale_init_value": 0.5,
    },
    "convnextv2": {"model_type": "convnextv2", "hidden_sizes": [6, 8, 10, 12], "depths": [1, 1, 2, 1]},
    "resnet": {
        "model_type": "resnet", "embedding_size": 6, "hidden_sizes": [8, 16, 24, 32], "depths": [1, 2, 1, 1],
    },
    "efficientnet": {
        "model_type": "efficientnet", "width_coefficient": 0.05, "depth_coefficient": 0.4, "hidden_dim": 64,
        "depthwise_padding": [2],
    },
    "swin": {
        "model_type": "swin", "embed_dim": 8, "depths": [2, 2, 1], "num_heads": [2, 2, 4], "window_size": 4,
        "image_size": 64,
    },
}  # fmt: skip
"""Tiny towers of Hugging Face beside those of `parts.TOWERS`."""


def hf_vision(model_type: str, **settings: Any) -> dict[str, Any]:
    """An image encoder around one of `TOWERS`."""
    return {"type": "hf_vision", "config": TOWERS[model_type], **settings}


_OF_OTHERS: dict[str, dict[str, Any]] = {
    "medm_clip": {
        "type": "medm_clip", "size": [8, 16, 16], "patch_size": [2, 4, 4], "width": 24, "num_layers": 2,
        "num_heads": 2, "mlp_width": 40,
    },
    "ct_vit": {
        "type": "ct_vit", "patch_size": [2, 4, 4], "width": 24, "num_spatial_layers": 1, "num_depth_layers": 1,
        "num_heads": 2, "head_width": 6,
    },
    "ct_vit with codes": {
        "type": "ct_vit", "patch_size": [2, 4, 4], "width": 24, "num_spatial_layers": 1, "num_depth_layers": 1,
        "num_heads": 2, "head_width": 6, "codebook_size": 7,
    },
    "resnet3d": {"type": "resnet3d", "num_blocks": [1, 2, 1, 1], "width": 4, "stage": 3},
    "dcformer": {
        "type": "dcformer", "stage_widths": [4, 6, 8, 10, 12], "num_blocks": [1, 2, 1, 1],
        "kernel_sizes": [5, 5, 3, 3],
    },
}  # fmt: skip
"""Tiny volume encoders beside those of `parts`."""

IMAGES: dict[str, dict[str, Any]] = {
    "vit2d": parts.vit2d(class_token=True, select="cls_patch"),
    **{name: parts.hf_vision(name) for name in parts.TOWERS},
    **{name: hf_vision(name) for name in TOWERS},
}
"""One of every type of image encoder, and every Hugging Face tower; those of optional libraries are tested elsewhere."""
VOLUMES: dict[str, dict[str, Any]] = {
    "vit3d": parts.vit3d(stem="conv"),
    "vit3d class token": parts.vit3d(class_token=True, select="cls_patch", qkv_bias=False, final_norm=False),
    "slices": parts.slices(encoder=parts.hf_vision()),
    **_OF_OTHERS,
    "volume_and_slices": {
        "type": "volume_and_slices", "volume": parts.vit3d(), "slices": parts.slices(encoder=hf_vision("resnet")),
    },
}  # fmt: skip
"""One of every type of volume encoder."""

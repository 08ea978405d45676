"""A 3D vision transformer, and how M3D-CLIP's weights fit into it.

M3D-CLIP (arXiv 2404.00578) has this shape: patches of 4 x 16 x 16 voxels, a class token
without a position, no query, key and value biases.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import PositiveInt
from torch import Tensor

from medmvl.json_types import JsonMapping, JsonObject
from medmvl.models.encoders.base import VolumeEncoder
from medmvl.models.encoders.tokens import Select, layer_positions
from medmvl.models.encoders.vit import ViT, ViTConfig
from medmvl.models.encoders.weight_names import layers_up_to, renamed, tensors_under
from medmvl.models.features import VisualFeatures


class ViT3DConfig(ViTConfig):
    """Settings of a 3D vision transformer; sizes are (depth, height, width)."""

    type: Literal["vit3d"] = "vit3d"
    size: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 256, 256)
    patch_size: tuple[PositiveInt, PositiveInt, PositiveInt] = (4, 16, 16)


class ViT3D(VolumeEncoder):
    """Volumes to patch tokens."""

    Config = ViT3DConfig

    def __init__(self, config: ViT3DConfig) -> None:
        super().__init__(config)
        self.vit = ViT(config)

    def encode(self, pixel_values: Tensor, positions_mm: Tensor | None) -> VisualFeatures:
        """Tokens on the grid of patches; a layer of patches lies at the mean position of its slices."""
        settings = self.vit.settings
        grid = self.grid(*pixel_values.shape[2:])
        known = positions_mm if settings.select == "patch" else None
        layers_mm = layer_positions(known, grid[0], settings.patch_size[0])
        return VisualFeatures((self.vit(pixel_values),), grid, positions_mm=layers_mm)


def m3d_clip_settings(
    config: JsonMapping, layer: int = -1, select: Select = "patch", final_norm: bool = False
) -> JsonObject:
    """The settings of `vit3d` for M3D-CLIP's `config.json`.

    Args:
        config: configuration of the checkpoint; keys that it leaves out have M3D-CLIP's defaults.
        layer: index of its list of hidden states, which starts with the output of the first layer.
        select: `patch` or `cls_patch`.
        final_norm: norm the last layer, as M3D-LaMed does for layer -1; MedM-VL takes the layer itself.

    Raises:
        RecipeError: there is no such layer.
    """
    return {
        "type": "vit3d",
        "size": list(config.get("img_size", (32, 256, 256))),
        "patch_size": list(config.get("patch_size", (4, 16, 16))),
        "in_channels": config.get("in_channels", 1),
        "width": config.get("hidden_size", 768),
        "num_layers": layers_up_to(layer, config.get("num_layers", 12), "M3D-CLIP"),
        "num_heads": config.get("num_heads", 12),
        "mlp_width": config.get("mlp_dim", 3072),
        "class_token": True,
        "select": select,
        "final_norm": final_norm,
        "qkv_bias": False,
    }


M3D_CLIP_NAMES = {
    "cls_token": "vit.class_token",
    "patch_embedding.position_embeddings": "vit.position_embedding",
    "patch_embedding.patch_embeddings.1.bias": "vit.patch_embedding.bias",
    "norm.weight": "vit.norm.weight",
    "norm.bias": "vit.norm.bias",
}
M3D_CLIP_LAYER_NAMES = {
    "norm1.weight": "norm1.weight",
    "norm1.bias": "norm1.bias",
    "attn.qkv.weight": "qkv.weight",
    "attn.out_proj.weight": "out_proj.weight",
    "attn.out_proj.bias": "out_proj.bias",
    "norm2.weight": "norm2.weight",
    "norm2.bias": "norm2.bias",
    "mlp.linear1.weight": "mlp.0.weight",
    "mlp.linear1.bias": "mlp.0.bias",
    "mlp.linear2.weight": "mlp.2.weight",
    "mlp.linear2.bias": "mlp.2.bias",
}


def m3d_clip_weights(state_dict: Mapping[str, Tensor], config: ViT3DConfig) -> dict[str, Tensor]:
    """The weights of a `ViT3D` with these settings out of M3D-CLIP's, whatever prefix they carry.

    Its patch map is a linear layer over `(depth, height, width, channel)`, ours a convolution.

    Raises:
        RecipeError: a tensor is missing.
    """
    theirs = tensors_under(state_dict, "patch_embedding.patch_embeddings.1.weight", "M3D-CLIP")
    names = dict(M3D_CLIP_NAMES)
    if not config.final_norm:
        del names["norm.weight"], names["norm.bias"]
    for index in range(config.num_layers):
        for name, ours in M3D_CLIP_LAYER_NAMES.items():
            names[f"blocks.{index}.{name}"] = f"vit.blocks.{index}.{ours}"
    linear = theirs["patch_embedding.patch_embeddings.1.weight"]
    kernel = linear.reshape(len(linear), *config.patch_size, config.in_channels).permute(0, 4, 1, 2, 3)
    return {**renamed(theirs, names, "M3D-CLIP"), "vit.patch_embedding.weight": kernel.contiguous()}

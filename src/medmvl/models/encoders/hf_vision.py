"""A Hugging Face vision tower of a known family, cut at the chosen layer or stage, giving the chosen tokens.

What follows the chosen layer (later layers, last norm, pooling head) is left out: every weight is used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn

from medmvl.errors import RecipeError
from medmvl.models.encoders.base import BatchNormedConfig, ImageEncoder
from medmvl.models.encoders.hf_families import FAMILIES, TWO_TOWERS, Family, Tower, pair
from medmvl.models.encoders.tokens import Select, select_tokens, selected_grid
from medmvl.models.features import Grid, VisualFeatures
from medmvl.models.whole_weights import load_whole

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class HFVisionConfig(BatchNormedConfig):
    """Settings of a Hugging Face vision tower."""

    type: Literal["hf_vision"] = "hf_vision"
    config: dict[str, Any]
    """The tower's own configuration with its `model_type`; of CLIP and SigLIP also that of both towers."""
    layer: int = -1
    """Layer as LLaVA's `vision_feature_layer`, an index of `hidden_states`: 0 the embeddings, -1 the last layer.

    In a tower of stages (ConvNeXt, ResNet, EfficientNet, Swin) it is the stage, counted from 1; -1 is the last.
    """
    select: Select = "patch"
    """Tokens that are taken; without a class token only `patch`, which is all of them."""
    skip_first_patch: bool = False
    """Leave out the first patch, as checkpoints need that took it for a class token which the tower does not have."""
    final_norm: bool = False
    """Apply the norm that the tower has after its last layer; only with the last layer."""

    @model_validator(mode="before")
    @classmethod
    def _take_image_tower(cls, values: object) -> object:
        config = values.get("config") if isinstance(values, dict) else None
        if isinstance(values, dict) and isinstance(config, dict) and config.get("model_type") in TWO_TOWERS:
            tower = {**config.get("vision_config", {}), "model_type": TWO_TOWERS[config["model_type"]]}
            return {**values, "config": tower}
        return values

    @model_validator(mode="after")
    def _fits(self) -> Self:
        model_type = self.config.get("model_type")
        if model_type not in FAMILIES:
            known = ", ".join([*FAMILIES, *TWO_TOWERS])
            raise ValueError(f"config: unknown model_type {model_type!r}. Known: {known}.")
        if not self.family.class_token and self.select != "patch":
            raise ValueError(
                f"{model_type} has no class token: select {self.select!r} is not there; "
                "use 'patch', which keeps every token."
            )
        if self.skip_first_patch and (
            self.family.class_token or self.family.stages is not None or self.select != "patch"
        ):
            raise ValueError(f"skip_first_patch: {model_type} has a class token, or no patches to count.")
        count, least = self.num_tower_layers, 0 if self.family.stages is None else 1
        if not (least <= self.layer <= count or -count - 1 + least <= self.layer < 0):
            what = "layers" if self.family.stages is None else "stages"
            raise ValueError(
                f"layer {self.layer} does not exist: {model_type} has {count} {what}, so {-count - 1 + least} "
                f"to -1 and {least} to {count}{'' if least else ' (0 is the embeddings)'}."
            )
        normed = self.family.final_norm is not None and self.family.norm_is_for_patches
        if self.final_norm and not (normed and self.num_layers == count):
            raise ValueError(
                f"final_norm: {model_type} does not apply its norm to the patches of layer {self.layer}."
            )
        return self

    @property
    def family(self) -> Family:
        """How towers of this type are built."""
        return FAMILIES[self.config["model_type"]]

    @cached_property
    def tower(self) -> PretrainedConfig:
        """The tower's full configuration, its defaults filled in."""
        from transformers import AutoConfig

        return AutoConfig.for_model(**self.config)

    @property
    def num_tower_layers(self) -> int:
        """Layers, or stages, of the whole tower."""
        if self.family.stages is not None:
            return len(self.family.stages.widths(self.tower))
        return int(self.tower.num_hidden_layers)

    @property
    def num_layers(self) -> int:
        """Layers, or stages, that are built: up to the chosen one."""
        return self.layer if self.layer >= 0 else self.num_tower_layers + 1 + self.layer

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the patches: class token and registers."""
        return int(self.family.class_token) + getattr(self.tower, "num_register_tokens", 0)

    @property
    def widths(self) -> tuple[int, ...]:
        """One stream."""
        if self.family.stages is not None:
            return (self.family.stages.widths(self.tower)[self.num_layers - 1],)
        return (int(self.tower.hidden_size),)

    @property
    def channels(self) -> int:
        """As the tower's `num_channels`."""
        return int(self.tower.num_channels)

    def grid(self, size: tuple[int, ...]) -> Grid:
        """The patches; pixels that do not fill one are dropped at the border, as the tower itself does.

        A tower of stages gives the cells of the chosen stage's map.
        """
        if self.family.stages is not None:
            return (1, *self.family.stages.map_size(self.tower, size, self.num_layers))
        rows, columns = (
            length // patch for length, patch in zip(size, pair(self.tower.patch_size), strict=True)
        )
        if not rows * columns:
            raise RecipeError(
                f"hf_vision: {size[0]} x {size[1]} pixels hold no patch of {self.tower.patch_size}."
            )
        if self.skip_first_patch:
            return (1, 1, rows * columns - 1)
        return selected_grid((1, rows, columns), self.select)


class HFVision(ImageEncoder):
    """Images to the tokens of a Hugging Face vision tower."""

    Config = HFVisionConfig

    def __init__(self, config: HFVisionConfig) -> None:
        from transformers import AutoModel

        super().__init__(config)
        self.settings = config
        self.tower = cut_tower(AutoModel.from_config(_shortened(config)), config)

    @classmethod
    def from_pretrained(
        cls, path: str | os.PathLike[str], **settings: Any
    ) -> tuple[dict[str, Any], HFVision]:
        """The plain configuration and the encoder of a checkpoint; of CLIP and SigLIP the image tower.

        Args:
            path: a local folder, or a hub id.
            **settings: `layer`, `select`, `final_norm`.
        """
        config = cls.pretrained_settings({"path": os.fspath(path), **settings})
        encoder = cls(HFVisionConfig(**config))
        encoder.load_pretrained(path)
        return config, encoder

    @staticmethod
    def pretrained_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
        """The plain configuration for settings that name a checkpoint by `path` instead of giving its `config`.

        Raises:
            RecipeError: there is no such checkpoint.
        """
        from transformers import AutoConfig

        rest = {key: value for key, value in settings.items() if key != "path"}
        try:
            found = AutoConfig.from_pretrained(settings["path"])
        except (OSError, ValueError) as error:
            raise RecipeError(f"image encoder: no checkpoint at {settings['path']!r}: {error}") from error
        plain = {key: value for key, value in found.to_dict().items() if key != "_name_or_path"}
        return HFVisionConfig(**rest, config=plain).to_dict()

    def load_pretrained(self, path: str | os.PathLike[str]) -> None:
        """Take the weights of a checkpoint's (image) tower; layers and heads that are not used are left.

        Raises:
            RecipeError: the checkpoint lacks weights of the tower.
        """
        from transformers import AutoModel

        whole = load_whole(AutoModel, path, "image encoder", wanted=self.tower.state_dict())
        weights = getattr(whole, "vision_model", whole).state_dict()
        self.tower.load_state_dict({name: weights[name] for name in self.tower.state_dict()})

    def encode(self, pixel_values: Tensor) -> VisualFeatures:
        """Run the tower up to the chosen layer and choose its tokens."""
        grid = self.grid(*pixel_values.shape[2:])
        pixels = pixel_values.to(next(self.tower.parameters()).dtype)
        if self.settings.family.stages is not None:
            return VisualFeatures((self.settings.family.stages.run(self.tower, pixels),), grid)
        inputs = self.patches(pixels) if self.settings.family.reads_patches else self.images(pixels)
        tokens = self.tower(**inputs).last_hidden_state
        selected = select_tokens(tokens, self.settings.select, self.settings.num_prefix_tokens)
        return VisualFeatures((selected[:, int(self.settings.skip_first_patch) :],), grid)

    def images(self, pixels: Tensor) -> dict[str, Any]:
        """What most towers read."""
        if not self.settings.family.interpolates_on_request:
            return {"pixel_values": pixels}
        resized = tuple(pixels.shape[2:]) != pair(self.settings.tower.image_size)
        return {"pixel_values": pixels, "interpolate_pos_encoding": resized}

    def patches(self, pixels: Tensor) -> dict[str, Any]:
        """What SigLIP 2 with native aspect ratio reads: patches `(N, patches, voxels)`, channels last, and their layout."""
        _, rows, columns = self.grid(*pixels.shape[2:])
        patch = self.settings.tower.patch_size
        batch, channels = pixels.shape[:2]
        cut = pixels[:, :, : rows * patch, : columns * patch].reshape(
            batch, channels, rows, patch, columns, patch
        )
        flat = cut.permute(0, 2, 4, 3, 5, 1).reshape(batch, rows * columns, -1)
        layout = torch.tensor([[rows, columns]], device=pixels.device).expand(len(pixels), -1)
        mask = torch.ones(flat.shape[:2], dtype=torch.long, device=pixels.device)
        return {"pixel_values": flat, "pixel_attention_mask": mask, "spatial_shapes": layout}


def cut_tower(tower: Tower, config: HFVisionConfig) -> nn.Module:
    """Remove what the chosen features do not pass: last norm, pooling heads, the token of masked training."""
    family = config.family
    if family.stages is not None:
        family.stages.cut(tower, config.num_layers)
    if family.final_norm is not None and not config.final_norm:
        setattr(tower, family.final_norm, nn.Identity())
    for head in family.heads:
        setattr(tower, head, None)
    if hasattr(tower, "use_head"):
        tower.use_head = False
    embeddings = getattr(tower, "embeddings", None)
    if embeddings is not None and getattr(embeddings, "mask_token", None) is not None:
        embeddings.mask_token = None
    cut: nn.Module = tower
    return cut


def _shortened(config: HFVisionConfig) -> PretrainedConfig:
    from transformers import AutoConfig

    if config.family.stages is not None:
        return AutoConfig.for_model(**config.config)
    backbone = ("out_features", "out_indices", "stage_names", "_out_features", "_out_indices")
    plain = {key: value for key, value in config.config.items() if key not in backbone}
    shortened = AutoConfig.for_model(**{**plain, "num_hidden_layers": config.num_layers})
    for jitter in (
        "pos_embed_shift",
        "pos_embed_jitter",
        "pos_embed_rescale",
    ):  # DINOv3's pretraining draws positions
        if hasattr(shortened, jitter):
            setattr(shortened, jitter, None)
    return shortened

"""Any Hugging Face vision tower of the families below, cut at the chosen layer, giving the chosen tokens.

What lies behind the chosen layer (later layers, last norm, pooling head) is left out: every weight is used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import model_validator
from torch import Tensor, nn

from medmvl.errors import RecipeError
from medmvl.models.encoders.base import EncoderConfig, ImageEncoder
from medmvl.models.encoders.tokens import Select, select_tokens, selected_grid
from medmvl.models.features import Grid, VisualFeatures

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class Family:
    """How one family of towers is built and what its tokens are."""

    class_token: bool
    final_norm: str
    """Attribute of the norm after the last layer."""
    norm_is_for_patches: bool = True
    """False where the family applies that norm to the pooled class token only."""
    heads: tuple[str, ...] = ()
    """Attributes that pool the tokens; they are removed."""
    interpolates_on_request: bool = True
    """Whether `forward` takes `interpolate_pos_encoding`; otherwise positions always fit the size."""


FAMILIES: dict[str, Family] = {
    "clip_vision_model": Family(class_token=True, final_norm="post_layernorm", norm_is_for_patches=False),
    "siglip_vision_model": Family(class_token=False, final_norm="post_layernorm", heads=("head",)),
    "vit": Family(class_token=True, final_norm="layernorm", heads=("pooler",)),
    "dinov2": Family(class_token=True, final_norm="layernorm", interpolates_on_request=False),
    "dinov2_with_registers": Family(class_token=True, final_norm="layernorm", interpolates_on_request=False),
}
TWO_TOWERS: dict[str, str] = {"clip": "clip_vision_model", "siglip": "siglip_vision_model"}
"""Checkpoints of an image and a text tower, and the type of the image tower inside."""


class HFVisionConfig(EncoderConfig):
    """Settings of a Hugging Face vision tower."""

    type: Literal["hf_vision"] = "hf_vision"
    config: dict[str, Any]
    """The tower's own configuration with its `model_type`; of CLIP and SigLIP also that of both towers."""
    layer: int = -1
    """As LLaVA's `vision_feature_layer`, an index of `hidden_states`: 0 the embeddings, -1 the last layer."""
    select: Select = "patch"
    """Without a class token only `patch`: all tokens."""
    final_norm: bool = False
    """Apply the norm that the tower has after its last layer; only with the last layer."""

    @model_validator(mode="before")
    @classmethod
    def _take_image_tower(cls, values: Any) -> Any:
        config = values.get("config")
        if isinstance(config, dict) and config.get("model_type") in TWO_TOWERS:
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
        count = self.num_tower_layers
        if not -count - 1 <= self.layer <= count:
            raise ValueError(
                f"layer {self.layer} does not exist: {model_type} has {count} layers, so {-count - 1} "
                f"to {count} (0 is the embeddings)."
            )
        if self.final_norm and not (self.family.norm_is_for_patches and self.num_layers == count):
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
        """Layers of the whole tower."""
        return int(self.tower.num_hidden_layers)

    @property
    def num_layers(self) -> int:
        """Layers that are built: up to the chosen one."""
        return self.layer if self.layer >= 0 else self.num_tower_layers + 1 + self.layer

    @property
    def num_prefix_tokens(self) -> int:
        """Tokens before the patches: class token and registers."""
        return int(self.family.class_token) + getattr(self.tower, "num_register_tokens", 0)

    @property
    def widths(self) -> tuple[int, ...]:
        """One stream."""
        return (int(self.tower.hidden_size),)

    @property
    def channels(self) -> int:
        """As the tower's `num_channels`."""
        return int(self.tower.num_channels)

    def grid(self, size: tuple[int, ...]) -> Grid:
        """The patches; pixels that do not fill one are dropped at the border, as the tower itself does."""
        rows, columns = (
            length // patch for length, patch in zip(size, _pair(self.tower.patch_size), strict=True)
        )
        if not rows * columns:
            raise RecipeError(
                f"hf_vision: {size[0]} x {size[1]} pixels hold no patch of {self.tower.patch_size}."
            )
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
        """Take the weights of a checkpoint's (image) tower; layers and heads that are not used are left."""
        from transformers import AutoModel

        whole = AutoModel.from_pretrained(path)
        weights = getattr(whole, "vision_model", whole).state_dict()
        self.tower.load_state_dict({name: weights[name] for name in self.tower.state_dict()})

    def encode(self, pixel_values: Tensor) -> VisualFeatures:
        """Run the tower up to the chosen layer and choose its tokens."""
        height, width = pixel_values.shape[2:]
        resized = (height, width) != _pair(self.settings.tower.image_size)
        request = (
            {"interpolate_pos_encoding": resized} if self.settings.family.interpolates_on_request else {}
        )
        pixels = pixel_values.to(next(self.tower.parameters()).dtype)
        tokens = self.tower(pixel_values=pixels, **request).last_hidden_state
        selected = select_tokens(tokens, self.settings.select, self.settings.num_prefix_tokens)
        return VisualFeatures((selected,), self.grid(height, width))


def cut_tower(tower: Any, config: HFVisionConfig) -> nn.Module:
    """Remove what the chosen features do not pass: last norm, pooling heads, the token of masked training."""
    if not config.final_norm:
        setattr(tower, config.family.final_norm, nn.Identity())
    for head in config.family.heads:
        setattr(tower, head, None)
    if hasattr(tower, "use_head"):
        tower.use_head = False
    embeddings = tower.embeddings
    if getattr(embeddings, "mask_token", None) is not None:
        embeddings.mask_token = None
    cut: nn.Module = tower
    return cut


def _shortened(config: HFVisionConfig) -> PretrainedConfig:
    from transformers import AutoConfig

    shortened = AutoConfig.for_model(**{**config.config, "num_hidden_layers": config.num_layers})
    for stage in ("out_features", "out_indices", "stage_names", "_out_features", "_out_indices"):
        shortened.__dict__.pop(stage, None)
    return shortened


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])

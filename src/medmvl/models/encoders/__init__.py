"""The encoders: a part is one file and one line in a table; its grid is known before it is built."""

from __future__ import annotations

from pydantic import ValidationError

from medmvl.errors import RecipeError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.models.encoders.base import Encoder, EncoderConfig, ImageEncoder, VolumeEncoder
from medmvl.models.encoders.ct_vit import CTViT
from medmvl.models.encoders.dcformer import DCFormer
from medmvl.models.encoders.hf_vision import HFVision
from medmvl.models.encoders.medm_clip import MedMCLIP
from medmvl.models.encoders.open_clip_vision import OpenCLIPVision
from medmvl.models.encoders.resnet3d import ResNet3D
from medmvl.models.encoders.slices import BoundSlicesConfig, SliceEncoder, SlicesConfig
from medmvl.models.encoders.timm_vision import TimmVision
from medmvl.models.encoders.vit2d import ViT2D
from medmvl.models.encoders.vit3d import ViT3D
from medmvl.models.encoders.volume_and_slices import (
    BoundVolumeAndSlicesConfig,
    VolumeAndSlicesConfig,
    VolumeAndSlicesEncoder,
)
from medmvl.models.parts import parse_part, part_class

__all__ = [
    "IMAGE_ENCODERS", "VOLUME_ENCODERS", "Encoder", "EncoderConfig", "ImageEncoder", "VolumeEncoder",
    "build_image_encoder", "build_volume_encoder", "parse_image_encoder_config",
    "parse_volume_encoder_config", "validate_image_encoder_config", "validate_volume_encoder_config",
]  # fmt: skip

IMAGE_ENCODERS: dict[str, type[ImageEncoder]] = {
    "hf_vision": HFVision,
    "vit2d": ViT2D,
    "timm": TimmVision,
    "open_clip": OpenCLIPVision,
}
VOLUME_ENCODERS: dict[str, type[VolumeEncoder]] = {
    "vit3d": ViT3D,
    "slices": SliceEncoder,
    "medm_clip": MedMCLIP,
    "ct_vit": CTViT,
    "resnet3d": ResNet3D,
    "dcformer": DCFormer,
    "volume_and_slices": VolumeAndSlicesEncoder,
}


def parse_image_encoder_config(config: JsonMapping) -> EncoderConfig:
    """The typed settings of an image encoder: its widths, its channels, `grid((height, width))`.

    Raises:
        RecipeError: an unknown type or key, or settings that do not fit together.
    """
    return parse_part(config, {name: part.Config for name, part in IMAGE_ENCODERS.items()}, "image encoder")


def parse_volume_encoder_config(config: JsonMapping, image: EncoderConfig | None = None) -> EncoderConfig:
    """The typed settings of a volume encoder: its widths, its channels, `grid((depth, height, width))`.

    Args:
        config: the settings as a plain dict.
        image: those of the model's image encoder; an encoder that shares it needs them.

    Raises:
        RecipeError: an unknown type or key, settings that do not fit together, or no image encoder to share.
    """
    parsed = parse_part(
        config, {name: part.Config for name, part in VOLUME_ENCODERS.items()}, "volume encoder"
    )
    if isinstance(parsed, SlicesConfig):
        return _bound(parsed, image)
    if isinstance(parsed, VolumeAndSlicesConfig):
        whole = parse_volume_encoder_config(parsed.volume, image)
        detail = _bound(parsed.slices, image)
        slices = SlicesConfig(**detail.to_dict())
        try:
            return BoundVolumeAndSlicesConfig(
                volume=whole.to_dict(), slices=slices, whole=whole, detail=detail
            )
        except ValidationError as error:
            raise RecipeError(f"volume encoder {parsed.type!r}: {error.errors()[0]['msg']}") from error
    assert isinstance(parsed, EncoderConfig)
    return parsed


def _bound(slices: SlicesConfig, image: EncoderConfig | None) -> BoundSlicesConfig:
    """Slice-wise encoding with the settings of the image encoder that does the work."""
    own = parse_image_encoder_config(slices.encoder) if isinstance(slices.encoder, dict) else None
    if own is None and image is None:
        raise RecipeError(
            "volume encoder 'slices': its encoder is 'shared' but the model has no image encoder; "
            "add one, or give 'slices' an encoder of its own."
        )
    settings = slices.to_dict() | {"encoder": own.to_dict() if own else "shared"}
    bound = own or image
    assert bound is not None
    return BoundSlicesConfig(**settings, image=bound)


def validate_image_encoder_config(config: JsonMapping) -> JsonObject:
    """The settings with all defaults filled in. Raises RecipeError as `parse_image_encoder_config` does."""
    return parse_image_encoder_config(config).to_dict()


def validate_volume_encoder_config(config: JsonMapping, image: EncoderConfig | None = None) -> JsonObject:
    """The settings with all defaults filled in. Raises RecipeError as `parse_volume_encoder_config` does."""
    return parse_volume_encoder_config(config, image).to_dict()


def build_image_encoder(config: JsonMapping) -> ImageEncoder:
    """An image encoder with fresh weights."""
    parsed = parse_image_encoder_config(config)
    return part_class(parsed.type, IMAGE_ENCODERS, "image encoder")(parsed)


def build_volume_encoder(config: JsonMapping, image_encoder: ImageEncoder | None = None) -> VolumeEncoder:
    """A volume encoder with fresh weights; `image_encoder` is the model's, for those that share it."""
    parsed = parse_volume_encoder_config(config, image_encoder.part_config if image_encoder else None)
    if isinstance(parsed, BoundSlicesConfig):
        inner = build_image_encoder(parsed.encoder) if isinstance(parsed.encoder, dict) else image_encoder
        assert inner is not None
        return SliceEncoder(parsed, inner)
    if isinstance(parsed, BoundVolumeAndSlicesConfig):
        slices = build_volume_encoder(parsed.slices.to_dict(), image_encoder)
        assert isinstance(slices, SliceEncoder)
        return VolumeAndSlicesEncoder(parsed, build_volume_encoder(parsed.volume, image_encoder), slices)
    return part_class(parsed.type, VOLUME_ENCODERS, "volume encoder")(parsed)

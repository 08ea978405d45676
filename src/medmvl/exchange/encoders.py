"""Encoders alone: published 3D encoders by the names of their tensors, as folders that recipes name by `path`.

2D towers of the Hugging Face formats need no import: a recipe names their folder or hub id itself.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from torch import Tensor

from medmvl.errors import UserError
from medmvl.exchange.imported import Components, ImportedEncoder
from medmvl.exchange.weights import has_weights, load_exactly, read_weights
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.models.encoders import VOLUME_ENCODERS, parse_volume_encoder_config
from medmvl.models.encoders.base import EncoderConfig
from medmvl.models.encoders.ct_vit import ct_clip_settings, ct_clip_weights
from medmvl.models.encoders.dcformer import dcformer_settings, dcformer_weights
from medmvl.models.encoders.medm_clip import medm_clip_settings, medm_clip_weights
from medmvl.models.encoders.resnet3d import merlin_settings, merlin_weights
from medmvl.models.encoders.saved import save_encoder
from medmvl.models.encoders.vit3d import m3d_clip_settings, m3d_clip_weights
from medmvl.models.volume_conventions import ConventionName, resnet_processor

Settings = Callable[[Mapping[str, Tensor], JsonMapping], JsonObject]
CT_CLIP_PATCH = (10, 20, 20)


class PublishedEncoder(NamedTuple):
    """One published layout of tensors."""

    landmarks: tuple[str, ...]
    """Suffixes of tensor names that together identify this layout."""
    settings: Settings
    """Function from tensors and `config.json` (empty where there is none) to the settings of an encoder of ours."""
    weights: Callable[[Mapping[str, Tensor], Any], dict[str, Tensor]]
    about: str
    conventions: Mapping[str, str] = MappingProxyType({})
    """Prefix of tensor names to the preprocessing of its models; the empty prefix is for all others."""


PUBLISHED: dict[str, PublishedEncoder] = {
    "m3d-clip": PublishedEncoder(
        ("patch_embedding.patch_embeddings.1.weight", "blocks.0.attn.qkv.weight"),
        lambda tensors, config: m3d_clip_settings(config),
        m3d_clip_weights,
        "M3D-CLIP's vision encoder (vit3d)",
    ),
    "medm-clip": PublishedEncoder(
        ("to_patch_embedding.1.weight", "transformer_layers.0.linear1.weight"),
        lambda tensors, config: medm_clip_settings(config),
        medm_clip_weights,
        "MedM-CLIP's vision encoder (medm_clip)",
    ),
    "ct-clip": PublishedEncoder(
        ("to_patch_emb.1.weight", "enc_spatial_transformer.layers.0.1.to_q.weight"),
        lambda tensors, config: ct_clip_settings(tensors, CT_CLIP_PATCH),
        ct_clip_weights,
        "CT-CLIP's CT-ViT (ct_vit)",
    ),
    "merlin": PublishedEncoder(
        ("layer1.0.downsample.0.weight", "conv1.weight"),
        lambda tensors, config: merlin_settings(tensors),
        merlin_weights,
        "Merlin's inflated ResNet (resnet3d)",
        MappingProxyType({"visual_encoder.": "astra_chest", "": "merlin"}),
    ),
    "med3dvlm": PublishedEncoder(
        ("s0.0.0.c1.0.weight",),
        lambda tensors, config: dcformer_settings(tensors),
        dcformer_weights,
        "Med3DVLM's DCFormer (dcformer)",
    ),
}


def recognise(source: Path, components: Components) -> bool:
    """Whether a file or folder holds the tensors of a published encoder."""
    if not (source.is_file() or has_weights(source)):
        return False
    return _layout(read_weights(source, trust_pickle=components.trust_pickle)) is not None


def read(source: Path, components: Components) -> ImportedEncoder:
    """Read a published encoder.

    Raises:
        UserError: no known layout, missing tensors or wrong shapes; the message lists them.
    """
    tensors = read_weights(source, trust_pickle=components.trust_pickle)
    name = _layout(tensors)
    if name is None:
        known = "; ".join(f"{key}: {layout.about}" for key, layout in PUBLISHED.items())
        raise UserError(f"{source}: its tensors are those of no known encoder. Known: {known}.")
    layout = PUBLISHED[name]
    settings = layout.settings(tensors, _config_beside(source))
    config = parse_volume_encoder_config(settings, None)
    assert isinstance(config, EncoderConfig)
    encoder = VOLUME_ENCODERS[settings["type"]](config)
    load_exactly(encoder, layout.weights(tensors, config), f"{source} ({name})")
    processor, told = _processor(layout, tensors, components)
    left = sum(t.numel() for t in tensors.values()) - sum(t.numel() for t in encoder.state_dict().values())
    return ImportedEncoder(
        lambda folder: save_encoder(encoder, folder, processor),
        (
            f"{layout.about}; name it in a recipe: volume_encoder: {{type: {settings['type']}, path: FOLDER}}",
            f"{left:,} values of the file belong to other parts (text tower, heads) and were left out",
            told,
        ),
    )


def _processor(
    layout: PublishedEncoder, tensors: Mapping[str, Tensor], components: Components
) -> tuple[JsonObject | None, str]:
    """Settings of the processor that the encoder was trained with, and notes about them."""
    known = tuple(dict.fromkeys(layout.conventions.values()))
    chosen = components.convention
    if chosen is not None and chosen not in known:
        raise UserError(
            f"convention {chosen!r} is none of those known for {layout.about}: {', '.join(known) or 'none is known'}"
        )
    if not known:
        return None, "the preprocessing of its origin is not known here: set volume_processor in the recipe"
    said = chosen is not None
    landmark = next(name for name in tensors if name.endswith(layout.landmarks[0]))
    for beginning, convention in layout.conventions.items():
        if chosen is None and landmark.startswith(beginning):
            chosen, said = convention, bool(beginning)
    assert chosen is not None
    why = "" if said else f"; its tensors do not show it, --convention takes another of {', '.join(known)}"
    return (
        resnet_processor(cast("ConventionName", chosen)),
        f"preprocessing of its origin: volume_processor: {{path: FOLDER}} (convention {chosen}{why})",
    )


def _layout(tensors: Mapping[str, Tensor]) -> str | None:
    for name, layout in PUBLISHED.items():
        if all(any(t == mark or t.endswith(f".{mark}") for t in tensors) for mark in layout.landmarks):
            return name
    return None


def _config_beside(source: Path) -> JsonObject:
    """The checkpoint's `config.json`, where it has one."""
    path = (source if source.is_dir() else source.parent) / "config.json"
    try:
        loaded = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return loaded if isinstance(loaded, dict) else {}

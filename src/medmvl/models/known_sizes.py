"""Sizes of public models by hub id, from their `config.json`: a recipe can be looked at where nothing is downloaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from medmvl.json_types import JsonObject
from medmvl.models.encoders.medm_clip import medm_clip_settings
from medmvl.models.encoders.vit3d import m3d_clip_settings


def _qwen2(hidden: int, inner: int, layers: int, heads: int, kv_heads: int, **more: Any) -> JsonObject:
    return {
        "model_type": "qwen2", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": 151936,
        "max_position_embeddings": 32768, "tie_word_embeddings": True, **more,
    }  # fmt: skip


def _siglip(hidden: int, inner: int, layers: int, heads: int, size: int, patch: int) -> JsonObject:
    return {
        "model_type": "siglip_vision_model", "hidden_size": hidden, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "image_size": size, "patch_size": patch,
    }  # fmt: skip


LLM_CONFIGS: dict[str, JsonObject] = {
    "Qwen/Qwen2.5-0.5B": _qwen2(896, 4864, 24, 14, 2),
    "Qwen/Qwen2.5-1.5B": _qwen2(1536, 8960, 28, 12, 2),
    "Qwen/Qwen2.5-3B": _qwen2(2048, 11008, 36, 16, 2),
    "Qwen/Qwen2.5-7B": _qwen2(3584, 18944, 28, 28, 4, vocab_size=152064, tie_word_embeddings=False),
    "meta-llama/Llama-3.2-3B": {
        "model_type": "llama", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28,
        "num_attention_heads": 24, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256,
        "max_position_embeddings": 131072, "tie_word_embeddings": True,
    },
    "Qwen/Qwen3-4B": {
        "model_type": "qwen3", "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
        "max_position_embeddings": 40960, "tie_word_embeddings": True,
    },
    "microsoft/Phi-4-mini": {
        "model_type": "phi3", "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
        "num_attention_heads": 24, "num_key_value_heads": 8, "vocab_size": 200064, "pad_token_id": 199999,
        "max_position_embeddings": 131072, "tie_word_embeddings": True,
    },
    "google/gemma-2-2b": {
        "model_type": "gemma2", "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26,
        "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 256000,
        "max_position_embeddings": 8192, "tie_word_embeddings": True,
    },
    "mistralai/Mistral-7B-v0.3": {
        "model_type": "mistral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32768, "sliding_window": None,
        "max_position_embeddings": 32768, "tie_word_embeddings": False,
    },
}  # fmt: skip
"""Configurations of LLMs; a model tuned to instructions has the sizes of its base."""
IMAGE_TOWERS: dict[str, JsonObject] = {
    "google/siglip-base-patch16-256-multilingual": _siglip(768, 3072, 12, 12, 256, 16),
    "google/siglip-so400m-patch14-384": _siglip(1152, 4304, 27, 16, 384, 14),
    "openai/clip-vit-large-patch14-336": {
        "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24,
        "num_attention_heads": 16, "image_size": 336, "patch_size": 14,
    },
}  # fmt: skip
VOLUME_ENCODERS: Mapping[str, JsonObject] = {
    "vit3d": m3d_clip_settings({}),
    "medm_clip": medm_clip_settings({}),
}
"""The published encoder of a type: M3D-CLIP and MedM-CLIP."""


def llm_config(name: str) -> JsonObject | None:
    """The configuration of a public LLM; None where it is not in the table."""
    base = re.sub(r"-(instruct|it)(?=-|$)", "", name, flags=re.IGNORECASE)
    found = LLM_CONFIGS.get(base)
    return None if found is None else dict(found)

"""Tiny random models of every LLM family, their processors, and conversations whose pixels follow from a name."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from medmvl.imaging import MedicalImage
from medmvl.models.assemble import assemble
from medmvl.models.model_recipe import ModelRecipe
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.processing import MedMVLProcessor
from medmvl.models.visuals import ProcessedSample
from medmvl.schema import Message
from tests.factories.parts import randomise, slices, vit2d, vit3d

TEXTS = ("Is there a nodule? Yes. No. It grew.", "Describe the findings.", "有没有结节？有。没有。")
_LLM = {
    "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 512, "tie_word_embeddings": False,
}  # fmt: skip
LLMS: dict[str, dict[str, Any]] = {
    "qwen2": {"model_type": "qwen2", **_LLM},
    "qwen2_tied": {"model_type": "qwen2", **_LLM, "tie_word_embeddings": True},
    "llama": {"model_type": "llama", **_LLM},
    "mistral": {"model_type": "mistral", **_LLM, "sliding_window": None},
    "phi3": {"model_type": "phi3", **_LLM, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1},
    "gemma2": {
        "model_type": "gemma2", **_LLM, "head_dim": 12, "tie_word_embeddings": True,
        "final_logit_softcapping": 2.0,
    },
    "cohere": {"model_type": "cohere", **_LLM, "tie_word_embeddings": True, "logit_scale": 0.25},
    "granite": {
        "model_type": "granite", **_LLM, "logits_scaling": 4.0, "embedding_multiplier": 3.0,
        "residual_multiplier": 0.5,
    },
}  # fmt: skip
"""Tiny configurations; Gemma 2 caps its logits, Cohere and Granite scale them, some tie their heads."""

PARTS: dict[str, Any] = {
    "image_encoder": vit2d(num_layers=1),
    "image_connector": {"type": "mlp"},
    "image_processor": {"size": [16, 16], "channels": 1, "mean": [0.5], "std": [0.5]},
    "volume_encoder": vit3d(num_layers=1, patch_size=[4, 8, 8]),
    "volume_connector": {"type": "linear"},
    "volume_processor": {"size": [8, 16, 16]},
}
IMAGES_ONLY = dict.fromkeys(("volume_encoder", "volume_connector", "volume_processor"))
VOLUMES_ONLY = dict.fromkeys(("image_encoder", "image_connector", "image_processor"))
SLICES = {"volume_encoder": slices()}
SHARED = {"volume_encoder": "shared"}


def recipe(llm: str | Mapping[str, Any] = "qwen2", **changes: Any) -> ModelRecipe:
    """A recipe with images (16 tokens each) and volumes (8 tokens each), some parts changed."""
    config = LLMS[llm] if isinstance(llm, str) else dict(llm)
    document = {"llm": {"config": config, "tokenizer_vocab_size": 320}, **PARTS, "max_length": 512, **changes}
    return ModelRecipe.model_validate(document)


def tiny(
    llm: str | Mapping[str, Any] = "qwen2", seed: int = 0, **changes: Any
) -> tuple[MedMVLForConditionalGeneration, MedMVLProcessor]:
    """A model in evaluation mode whose weights are large enough that every input matters, and its processor."""
    model, processor = assemble(recipe(llm, **changes), texts=TEXTS, seed=seed)
    randomise(model, seed)
    return model.eval(), processor


def image_of(block: Any) -> MedicalImage:
    """The image or volume of a block; its size and values follow from its path."""
    rng = np.random.default_rng(zlib.crc32(block.path.encode()))
    if block.type == "image":
        array = rng.integers(0, 255, rng.integers(12, 40, 2)).astype(np.uint8)
        return MedicalImage(array=array, kind="image", units="display", source_format="png")
    array = rng.integers(-1000, 1000, rng.integers(6, 20, 3)).astype(np.int16)
    return MedicalImage(
        array=array, kind="volume", units="HU", source_format="numpy", spacing_mm=(5.0, 1.0, 1.0)
    )


def conversation(*content: str, answer: str | None = None, system: str | None = None) -> list[Message]:
    """Messages; `xray:...` and `ct:...` are images and volumes (`ct:a@30`: 30 days earlier), the rest is text."""
    messages: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]
    messages.append({"role": "user", "content": [_block(item) for item in content]})
    if answer is not None:
        messages.append({"role": "assistant", "content": answer})
    return [Message.model_validate(message) for message in messages]


def _block(item: str) -> dict[str, Any]:
    for prefix, kind in (("xray:", "image"), ("ct:", "volume")):
        if item.startswith(prefix):
            _, _, days = item.partition("@")
            return {"type": kind, kind: item, "days_before_current": int(days) if days else None}
    return {"type": "text", "text": item}


def prepare(
    processor: MedMVLProcessor, *content: str, answer: str | None = None, **more: Any
) -> ProcessedSample:
    """A processed conversation: with an answer supervised, without one a prompt."""
    messages = conversation(*content, answer=answer, **more)
    supervised = answer is not None
    return processor.prepare(
        messages,
        processor.visual_loader(image_of),
        supervised=supervised,
        add_generation_prompt=not supervised,
        name="a sample",
    )


def differs(first: torch.Tensor, second: torch.Tensor) -> float:
    """The largest difference of two tensors."""
    return float((first - second).detach().abs().max())

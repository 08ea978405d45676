"""Small checkpoints of other projects' formats, as their own libraries write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
)

from medmvl.models.tokenizers import train_tokenizer
from tests.factories.models import TEXTS
from tests.factories.parts import randomise

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>\n{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAVA_15 = (
    "{% for message in messages %}{{ message['role'].upper() + ': ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' ' }}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
"""Reads typed blocks and puts no end of turn behind an answer."""
_TOWER = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
          "image_size": 32, "patch_size": 8}  # fmt: skip


def llava_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with ChatML's tokens and LLaVA's placeholder."""
    tokenizer = train_tokenizer(TEXTS, 360)
    names = ["<|im_start|>", "<|im_end|>", "<image>"]
    tokenizer.add_special_tokens({"additional_special_tokens": names}, replace_extra_special_tokens=False)
    tokenizer.eos_token = "<|im_end|>"
    return tokenizer


def llava(
    folder: Path, tower: str = "clip", template: str = CHATML, *, tied: bool = False, **changes: Any
) -> tuple[LlavaForConditionalGeneration, LlavaProcessor]:
    """A LLaVA with random weights that matter, saved in `folder` and returned."""
    clip = tower == "clip"
    vision = CLIPVisionConfig(**_TOWER) if clip else SiglipVisionConfig(**_TOWER, vision_use_head=False)
    tokenizer = llava_tokenizer()
    text = Qwen2Config(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        vocab_size=len(tokenizer) + 5, max_position_embeddings=512, tie_word_embeddings=tied,
    )  # fmt: skip
    settings = {"vision_feature_layer": -2 if clip else -1,
                "vision_feature_select_strategy": "default" if clip else "full", **changes}  # fmt: skip
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        tie_word_embeddings=tied,
        **settings,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    randomise(model, 0)
    model.tie_weights()
    size: Any = {"height": 32, "width": 32}
    images = (
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=size)
        if clip
        else SiglipImageProcessorPil(size=size)
    )
    processor = LlavaProcessor(
        images, tokenizer, patch_size=8, vision_feature_select_strategy=config.vision_feature_select_strategy,
        chat_template=template, num_additional_image_tokens=int(clip),
    )  # fmt: skip
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def m3d_clip(voxels: int = 4 * 8 * 8, patches: int = 2 * 2 * 2) -> dict[str, Tensor]:
    """Names and shapes of M3D-CLIP's vision encoder, small."""
    width = 12
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "patch_embedding.position_embeddings": (1, patches, width),
        "patch_embedding.patch_embeddings.1.weight": (width, voxels),
        "patch_embedding.patch_embeddings.1.bias": (width,),
        "norm.weight": (width,), "norm.bias": (width,),
    }  # fmt: skip
    for n in range(2):
        block = {
            "mlp.linear1.weight": (24, width), "mlp.linear1.bias": (24,), "mlp.linear2.weight": (width, 24),
            "mlp.linear2.bias": (width,), "norm1.weight": (width,), "norm1.bias": (width,), "norm2.weight": (width,),
            "norm2.bias": (width,), "attn.qkv.weight": (3 * width, width), "attn.out_proj.weight": (width, width),
            "attn.out_proj.bias": (width,),
        }  # fmt: skip
        shapes |= {f"blocks.{n}.{name}": shape for name, shape in block.items()}
    torch.manual_seed(0)
    return {f"vision_encoder.{name}": torch.randn(shape) for name, shape in shapes.items()}

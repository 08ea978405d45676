"""A tiny text model, and the numbers of trl's trainers on it, as a file that a test compares ours with."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, Qwen2Config

LLM = {
    "model_type": "qwen2", "vocab_size": 48, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "tie_word_embeddings": False,
}  # fmt: skip


def llm() -> Any:
    """The same weights at every call."""
    torch.manual_seed(7)
    settings = {key: value for key, value in LLM.items() if key != "model_type"}
    return AutoModelForCausalLM.from_config(Qwen2Config(**settings)).float()


def write_numbers(
    out: Path,
    variants: Mapping[str, dict[str, Any]],
    loss_of: Callable[[Any, dict[str, Any]], Tensor],
) -> None:
    """Write loss and gradients of every variant."""
    found = {}
    for name, variant in variants.items():
        model = llm().train()
        loss = loss_of(model, variant)
        loss.backward()
        gradients = {key: weight.grad for key, weight in model.named_parameters()}
        found[name] = {
            "variant": variant, "loss": loss.item(),
            "norms": {key: float(gradient.norm()) for key, gradient in gradients.items()},
            "head": [round(value, 9) for value in gradients["lm_head.weight"].flatten().tolist()],
        }  # fmt: skip
    weights = {"weights": float(sum(weight.detach().double().abs().sum() for weight in llm().parameters()))}
    out.write_text(json.dumps(weights | {"variants": found}) + "\n")

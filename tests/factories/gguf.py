"""Tiny GGUF files of models of transformers, written as llama.cpp's converter writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM

from tests.factories.models import TEXTS
from tests.factories.parts import randomise

SMALL: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
                         "num_key_value_heads": 2, "max_position_embeddings": 256}  # fmt: skip
MODEL_TYPES = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "phi3": "phi3", "gemma2": "gemma2",
               "gemma3": "gemma3_text"}  # fmt: skip
"""GGUF's architecture to transformers' `model_type`."""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def byte_level() -> Tokenizer:
    """A byte-level BPE with ChatML's tokens, which merges no digits, as SmolLM's."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=list(SPECIAL), initial_alphabet=alphabet)
    tokenizer.train_from_iterator([*TEXTS, "a  b   c    d"] * 4, trainer)
    return tokenizer


def tiny_llm(architecture: str, vocab_size: int, *, tied: bool = True) -> Any:
    """A model of transformers with random weights that matter, in evaluation mode."""
    settings = {**SMALL, "vocab_size": vocab_size, "tie_word_embeddings": tied, "pad_token_id": 0, "eos_token_id": 2,
                "bos_token_id": 1}  # fmt: skip
    if architecture in ("qwen3", "gemma2", "gemma3"):
        settings["head_dim"] = 16
    if architecture.startswith("gemma"):
        settings |= {"query_pre_attn_scalar": 16, "sliding_window": 32}
    config = AutoConfig.for_model(MODEL_TYPES[architecture], **settings)
    model = AutoModelForCausalLM.from_config(config).eval()
    randomise(model)
    return model


def write(
    path: Path,
    architecture: str,
    model: Any,
    tokenizer: Tokenizer | None,
    *,
    quantised: bool = False,
    rule: str = "smollm",
    without: str | None = None,
    more: dict[str, np.ndarray] | None = None,
) -> None:
    """Write a model, by llama.cpp's names and its order of rotary rows, and its tokenizer.

    Args:
        path: the file.
        architecture: key of `MODEL_TYPES`.
        model: model of transformers.
        tokenizer: byte-level tokenizer; None: the file holds none.
        quantised: matrices as Q4_1, the embedding as Q8_0.
        rule: `tokenizer.ggml.pre`.
        without: name of a tensor to leave out.
        more: tensors to add.
    """
    writer = gguf.GGUFWriter(path, architecture)
    _add_keys(writer, model.config)
    if tokenizer is not None:
        _add_tokenizer(writer, tokenizer, rule)
    for name, array in {**_tensors(architecture, model), **(more or {})}.items():
        if name == without:
            continue
        kind = (
            gguf.GGMLQuantizationType.Q8_0
            if name.startswith("token_embd")
            else gguf.GGMLQuantizationType.Q4_1
        )
        if quantised and array.ndim == 2:
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_keys(writer: gguf.GGUFWriter, config: Any) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    rope = config.rope_parameters
    writer.add_rope_freq_base(rope.get("full_attention", rope)["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    if getattr(config, "sliding_window", None):
        writer.add_sliding_window(config.sliding_window)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer, rule: str) -> None:
    words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    merges = [" ".join(pair) for pair in __import__("json").loads(tokenizer.to_str())["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(rule)
    writer.add_token_list([word for word, _ in words])
    writer.add_token_types([3 if word in SPECIAL else 1 for word, _ in words])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_chat_template(TEMPLATE)


def _tensors(architecture: str, model: Any) -> dict[str, np.ndarray]:
    names = gguf.get_tensor_name_map(
        next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == architecture),
        model.config.num_hidden_layers,
    )
    found = {}
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        stem, _, end = name.rpartition(".")
        array = tensor.to(torch.float32).numpy()
        if architecture == "llama" and stem.endswith(("q_proj", "k_proj")):
            heads = model.config.num_attention_heads if "q_proj" in stem else model.config.num_key_value_heads
            array = array.reshape(heads, 2, -1, array.shape[-1]).swapaxes(1, 2).reshape(array.shape)
        if architecture.startswith("gemma") and stem.endswith("norm"):
            array = array + 1
        found[f"{names.get_name(stem)}.{end}"] = np.ascontiguousarray(array)
    return found

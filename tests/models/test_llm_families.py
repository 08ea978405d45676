"""Families of LLMs as recipes name them: true architecture and tokenizer class, the public chat template, a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.factories.models import IMAGES_ONLY, LLMS, TEXTS, image_of, recipe
from tests.models.test_chat import CHATML, GEMMA, LLAMA3, MISTRAL, PHI3, QWEN3
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GemmaTokenizer,
    GPT2Tokenizer,
    LlamaTokenizer,
    PreTrainedTokenizerFast,
    Qwen2Tokenizer,
)

from medmvl.models.assemble import assemble, load
from medmvl.models.chat_rendering import bundled_or_own
from medmvl.schema import Message

PHI4 = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}<|im_sep|>{{ message['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant<|im_sep|>{% endif %}"
)
GEMMA3 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set rest = messages[1:] %}{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}"
    "{% for message in rest %}{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + (first if loop.first else '') + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_SMALL = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
          "num_key_value_heads": 1, "max_position_embeddings": 512, "tie_word_embeddings": True}  # fmt: skip
FAMILIES: dict[str, tuple[dict[str, Any], Any, str | None, str, tuple[str, ...]]] = {
    "Qwen2.5": (LLMS["qwen2"], Qwen2Tokenizer, CHATML, "<|im_end|>", ("<|endoftext|>", "<|im_start|>")),
    "Qwen3": ({**_SMALL, "model_type": "qwen3", "head_dim": 12}, Qwen2Tokenizer, QWEN3, "<|im_end|>",
              ("<|endoftext|>", "<|im_start|>")),
    "Llama 3.x": (LLMS["llama"], PreTrainedTokenizerFast, LLAMA3, "<|eot_id|>",
                  ("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>")),
    "Phi-3": (LLMS["phi3"], LlamaTokenizer, PHI3, "<|end|>", ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>")),
    "Phi-4": (LLMS["phi3"], GPT2Tokenizer, PHI4, "<|im_end|>", ("<|endoftext|>", "<|im_start|>", "<|im_sep|>")),
    "Gemma 2": ({**LLMS["gemma2"], "final_logit_softcapping": 30.0}, GemmaTokenizer, GEMMA, "<end_of_turn>",
                ("<start_of_turn>",)),
    "Gemma 3": ({**_SMALL, "model_type": "gemma3_text", "head_dim": 12}, GemmaTokenizer, GEMMA3, "<end_of_turn>",
                ("<start_of_turn>",)),
    "Mistral": (LLMS["mistral"], LlamaTokenizer, MISTRAL, "</s>", ("[INST]", "[/INST]")),
    "a base model without template": (LLMS["qwen2"], Qwen2Tokenizer, None, "<|endoftext|>", ()),
}  # fmt: skip
"""Configuration, tokenizer class, chat template, end of turn, other special tokens."""
CONVERSATION = [
    {
        "role": "user",
        "content": [{"type": "image", "image": "a.png"}, {"type": "text", "text": "Is there a nodule?"}],
    },
    {"role": "assistant", "content": [{"type": "text", "text": "Yes."}]},
    {"role": "user", "content": [{"type": "text", "text": "有没有结节？"}]},
    {"role": "assistant", "content": [{"type": "text", "text": "有。 It grew."}]},
]


def vocabulary(byte_level: bool) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A small BPE of bytes, or of pieces with byte fallback as SentencePiece makes them."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=not byte_level))
    bytes_ = pre_tokenizers.ByteLevel.alphabet() if byte_level else [f"<0x{n:02X}>" for n in range(256)]
    if byte_level:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = [] if byte_level else ["<unk>", "<s>", "</s>", "<pad>", "<bos>", "<eos>", *bytes_]
    trainer = trainers.BpeTrainer(
        vocab_size=520,
        special_tokens=special,
        initial_alphabet=bytes_ if byte_level else [],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    state = json.loads(tokenizer.to_str())["model"]
    return state["vocab"], [tuple(pair) for pair in state["merges"]]


def write_llm(family: str, folder: Path) -> Path:
    """A folder as the family's checkpoints have it."""
    config, tokenizer_class, template, end, others = FAMILIES[family]
    vocab, merges = vocabulary(tokenizer_class not in (LlamaTokenizer, GemmaTokenizer))
    if tokenizer_class is PreTrainedTokenizerFast:
        made = Tokenizer(models.BPE(vocab=vocab, merges=merges))
        made.pre_tokenizer, made.decoder = (
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            decoders.ByteLevel(),
        )
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, bos_token=others[0])
    else:
        tokenizer = tokenizer_class(vocab=vocab, merges=merges)
    tokenizer.add_special_tokens(
        {"additional_special_tokens": [end, *others]}, replace_extra_special_tokens=False
    )
    tokenizer.eos_token = end
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    llm = AutoConfig.for_model(**{**config, "vocab_size": len(tokenizer) + 3, "pad_token_id": 0})
    AutoModelForCausalLM.from_config(llm).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_named_trained_asked_and_saved(family: str, tmp_path: Path) -> None:
    folder, end = write_llm(family, tmp_path / "llm"), FAMILIES[family][3]
    document = recipe(**IMAGES_ONLY).model_dump(mode="json", exclude_unset=True) | {
        "llm": {"path": str(folder)}
    }
    model, processor = assemble(type(recipe()).model_validate(document))
    messages = [Message.model_validate(message) for message in CONVERSATION]
    sample = processor.prepare(messages, processor.visual_loader(image_of), supervised=True, name="sample")
    assert (sample.input_ids == processor.image_token_id).sum() == 16
    assert sample.labels is not None
    said = processor.tokenizer.decode(sample.input_ids[sample.labels != -100], skip_special_tokens=False)
    assert [text.strip() for text in said.split(end)] == ["Yes.", "有。 It grew.", ""]
    assert processor.tokenizer.convert_tokens_to_ids(end) in processor.stop_token_ids
    if FAMILIES[family][2] is None:
        assert processor.tokenizer.chat_template == bundled_or_own("plain")
    batch = processor.collate([sample])
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(100):
        loss = model(**batch).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.05 * losses[0]
    model.eval()
    asked = processor.collate(
        [
            processor.prepare(
                messages[:3],
                processor.visual_loader(image_of),
                supervised=False,
                add_generation_prompt=True,
                name="asked",
            )
        ],
        padding_side="left",
    )
    out = model.generate(**asked, max_new_tokens=24, do_sample=False)
    answer = out[0, asked["input_ids"].shape[1] :] if out.shape[1] > asked["input_ids"].shape[1] else out[0]
    assert processor.decode(answer).strip() == "有。 It grew."
    assert len(answer) < 24
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    again, processor_again = load(tmp_path / "saved")
    same = processor_again.prepare(
        messages, processor_again.visual_loader(image_of), supervised=True, name="sample"
    )
    assert same.input_ids.tolist() == sample.input_ids.tolist()
    with torch.no_grad():
        assert torch.equal(again.eval()(**batch).logits, model(**batch).logits)

"""GGUF files become plain folders: the same logits, tokens and template; what would be lost is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from medmvl.errors import UserError
from medmvl.exchange.formats import read_checkpoint
from medmvl.exchange.gguf_llm import ARCHITECTURES
from medmvl.exchange.imported import Components, write_folder
from medmvl.models.assemble import assemble
from tests.factories.gguf import TEMPLATE, byte_level, tiny_llm, write
from tests.factories.models import IMAGES_ONLY, recipe

TOKENIZER = byte_level()
WORDS = TOKENIZER.get_vocab_size()
TEXT = "a  b\n\n   2025: 3.14 mm, don't<|im_end|> 结节"


def imported(source: Path, out: Path) -> tuple[Any, tuple[str, ...]]:
    name, found = read_checkpoint(source, Components())
    assert name == "gguf"
    write_folder(found.save, out)
    return AutoModelForCausalLM.from_pretrained(out, dtype="auto").eval(), found.notes


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    return model(torch.arange(3, 90)[None]).logits


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_are_those_of_the_model_the_file_was_made_of(tmp_path: Path, architecture: str) -> None:
    origin = tiny_llm(architecture, WORDS)
    write(tmp_path / "tiny.gguf", architecture, origin, TOKENIZER)
    model, _ = imported(tmp_path / "tiny.gguf", tmp_path / "out")
    assert type(model) is type(origin)
    torch.testing.assert_close(logits(model), logits(origin), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_a_quantised_file_equals_transformers_own_load_and_ties_once(tmp_path: Path, tied: bool) -> None:
    write(tmp_path / "tiny.gguf", "llama", tiny_llm("llama", WORDS, tied=tied), TOKENIZER, quantised=True)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="tiny.gguf").eval()
    model, _ = imported(tmp_path, tmp_path / "out")  # the folder that holds the file
    torch.testing.assert_close(logits(model), logits(theirs), atol=1e-5, rtol=0)
    assert (model.lm_head.weight is model.model.embed_tokens.weight) is tied
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    stored = (tmp_path / "out" / "model.safetensors").stat().st_size
    assert stored < 4.1 * sum(p.numel() for p in model.parameters()), "tied weights are stored once"
    assert not any("gguf" in text for text in (tmp_path / "out" / "config.json").read_text().split())


def test_tokens_special_tokens_and_template_are_kept(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "llama", tiny_llm("llama", WORDS), TOKENIZER)
    _, notes = imported(tmp_path / "tiny.gguf", tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer(TEXT).input_ids == TOKENIZER.encode(TEXT).ids, (
        "digits apart, spaces before them together"
    )
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
    )
    assert tokenizer.chat_template == TEMPLATE
    assert not any("warning" in note for note in notes)


def test_an_unknown_rule_for_splitting_text_is_told(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "qwen2", tiny_llm("qwen2", WORDS), TOKENIZER, rule="viking")
    _, notes = imported(tmp_path / "tiny.gguf", tmp_path / "out")
    assert any("warning" in note and "'viking'" in note for note in notes)


def test_a_recipe_names_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "llama", tiny_llm("llama", WORDS), TOKENIZER)
    imported(tmp_path / "tiny.gguf", tmp_path / "out")
    document = recipe("qwen2", **IMAGES_ONLY).model_dump(mode="json", exclude_unset=True)
    chosen = type(recipe("qwen2")).model_validate(
        {**document, "llm": {"path": str(tmp_path / "out")}, "max_length": 256}
    )
    model, processor = assemble(chosen)
    assert processor.tokenizer.eos_token == "<|im_end|>"
    assert model.llm.config.model_type == "llama"


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "bert")
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(UserError, match=r"architecture 'bert'.*Imported: llama, qwen2"):
        read_checkpoint(tmp_path / "other.gguf", Components())


@pytest.mark.parametrize("share", [0.0001, 0.02, 0.3, 0.7, 0.999])
def test_a_file_that_is_cut_off_is_called_so(tmp_path: Path, share: float) -> None:
    write(tmp_path / "tiny.gguf", "llama", tiny_llm("llama", WORDS), TOKENIZER, quantised=True)
    whole = (tmp_path / "tiny.gguf").read_bytes()
    (tmp_path / "tiny.gguf").write_bytes(whole[: max(4, int(len(whole) * share))])
    with pytest.raises(UserError, match="cut off or damaged"):
        read_checkpoint(tmp_path / "tiny.gguf", Components())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"without": "blk.1.ffn_up.weight"}, r"not in the file"),
        (
            {"more": {"blk.0.attn_q.bias": np.ones(64, np.float32)}},
            r"blk\.0\.attn_q\.bias \(no place in the model\)",
        ),
        (
            {"more": {"rope_freqs.weight": np.ones(8, np.float32)}},
            r"rotary positions are scaled \(rope_freqs",
        ),
    ],
)
def test_what_transformers_would_drop_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    write(tmp_path / "tiny.gguf", "llama", tiny_llm("llama", WORDS), TOKENIZER, **changes)
    with pytest.raises(UserError, match=said):
        read_checkpoint(tmp_path / "tiny.gguf", Components())


def test_a_file_without_a_tokenizer_gives_its_weights_and_says_so(tmp_path: Path) -> None:
    write(tmp_path / "tiny.gguf", "llama", tiny_llm("llama", WORDS), None)
    _, notes = imported(tmp_path / "tiny.gguf", tmp_path / "out")
    assert any("holds no tokenizer" in note for note in notes)
    assert not (tmp_path / "out" / "tokenizer.json").exists()

"""Tokenizers: those of a pretrained LLM, or a small byte-level BPE learned from the training text."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from medmvl.errors import RecipeError, UserError
from medmvl.json_types import JsonObject

_SPECIAL = {"pad_token": "<|pad|>", "eos_token": "<|end|>"}


def read_tokenizer(source: str | Path, **settings: Any) -> PreTrainedTokenizerFast:
    """The tokenizer saved in a folder, or one of a name; `settings` go to `AutoTokenizer.from_pretrained`.

    Raises:
        OSError, ValueError: there is none, or its files are damaged.
        UserError: it has no fast form, which labels need.
    """
    tokenizer = AutoTokenizer.from_pretrained(source, **settings)
    if not isinstance(tokenizer, PreTrainedTokenizerFast):
        raise UserError(
            f"{type(tokenizer).__name__} is a slow tokenizer; labels need the fast one of the same model"
        )
    return tokenizer


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE: any text of any language has ids, and the same texts give the same tokenizer.

    Args:
        texts: the training text, questions and answers.
        vocab_size: size of the vocabulary, at least 300 (256 bytes and the special tokens).

    Raises:
        RecipeError: the vocabulary is too small, or there is no text.
    """
    if vocab_size < 300:
        raise RecipeError(
            f"tokenizer_vocab_size {vocab_size} is too small; a byte-level vocabulary needs at least 300."
        )
    distinct = sorted(set(texts))
    if not distinct:
        raise RecipeError("a tokenizer is to be trained, but the training data holds no text.")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 2,  # two placeholders are added later
        special_tokens=list(_SPECIAL.values()),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(distinct, trainer)
    settings: JsonObject = dict(_SPECIAL)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **settings)

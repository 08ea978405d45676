"""Tokenizers of the text metrics, one line each in `TOKENIZERS`; which one a number used is part of its name."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from medmvl.errors import UserError
from medmvl.tasks.metrics.optional import load_library
from medmvl.tasks.metrics.text import words

Tokenize = Callable[[str], list[str]]

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "{": "-lcb-", "}": "-rcb-", "[": "-lsb-", "]": "-rsb-"}
_COCO_PUNCTUATION = frozenset(("''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";", '"'))


def split_13a(text: str) -> list[str]:
    """WMT's mteval-v13a as sacrebleu has it: punctuation apart, case kept."""
    return str(_sacrebleu("tokenizer_13a", "Tokenizer13a")(text)).split()


def split_zh(text: str) -> list[str]:
    """Chinese as sacrebleu's `zh`: every Chinese character alone, the rest by 13a's rules, case kept."""
    return str(_sacrebleu("tokenizer_zh", "TokenizerZh")(text)).split()


def split_treebank(text: str) -> list[str]:
    """Penn Treebank words of every sentence, as nltk's `word_tokenize` with a sentence ending at `.`, `!` or `?`."""
    splitter = _treebank()
    return [word for sentence in _SENTENCE_END.split(text.strip()) for word in splitter.tokenize(sentence)]


def split_jieba(text: str) -> list[str]:
    """Chinese words by jieba.

    Raises:
        MissingExtraError: jieba is not installed.
    """
    jieba = load_library("jieba", "pip install jieba", "Chinese word segmentation")
    return [word for word in jieba.lcut(text) if word.strip()]


def split_coco(text: str) -> list[str]:
    """In lower case without punctuation, close to pycocoevalcap's `PTBTokenizer`, which needs Java.

    Treebank words; brackets become `-lrb-`, as there. Stanford's tokenizer and nltk's differ on few words.
    """
    named = (_BRACKETS.get(word, word.lower()) for word in split_treebank(text))
    return [word for word in named if word not in _COCO_PUNCTUATION]


TOKENIZERS: dict[str, Tokenize] = {
    "words": words,  # lower case, no punctuation, Chinese by character: `strict`
    "13a": split_13a,
    "zh": split_zh,
    "jieba": split_jieba,
    "treebank": split_treebank,
    "coco": split_coco,
    "space": str.split,
}


def find_tokenizer(name: str) -> Tokenize:
    """Return a tokenizer by name.

    Raises:
        UserError: listing the known names.
    """
    if name not in TOKENIZERS:
        raise UserError(f"no tokenizer '{name}'; known tokenizers: {', '.join(TOKENIZERS)}")
    return TOKENIZERS[name]


@cache
def _sacrebleu(module: str, name: str) -> Callable[[str], str]:
    from importlib import import_module

    tokenizer: Callable[[str], str] = getattr(import_module(f"sacrebleu.tokenizers.{module}"), name)()
    return tokenizer


@cache
def _treebank():  # type: ignore[no-untyped-def]
    from nltk.tokenize import NLTKWordTokenizer

    return NLTKWordTokenizer()

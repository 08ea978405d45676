"""METEOR as nltk has it (Banerjee and Lavie, 2005), with WordNet where it is on this machine, else without synonyms.

Without nltk's `wordnet` data two of its three stages remain, exact words and stems; values are then a little lower
than published ones. Which of the two was used is in `meteor_stages()` and next to every number. Nothing is
downloaded. Java METEOR 1.5, which pycocoevalcap calls, is another metric.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from medmvl.tasks.metrics.tally import Tally, mean_tally
from medmvl.tasks.metrics.tokens import Tokenize


class _NoSynonyms:
    """Stands for WordNet where it is absent: no word has synonyms."""

    def synsets(self, word: str) -> list[Any]:
        return []


def meteor(answers: Sequence[str], references: Sequence[Sequence[str]], tokenize: Tokenize) -> Tally:
    """METEOR per sample, the best over references; alpha 0.9, beta 3, gamma 0.5. An empty answer scores 0."""
    from nltk.translate.meteor_score import meteor_score

    wordnet, _ = _synonyms()
    return mean_tally(
        meteor_score([tokenize(text) for text in texts], tokenize(answer), wordnet=wordnet)
        if answer.strip() and any(text.strip() for text in texts)
        else 0.0
        for answer, texts in zip(answers, references, strict=True)
    )


def meteor_stages() -> str:
    """`"exact+stem+wordnet"`, or `"exact+stem"` where nltk finds no WordNet."""
    return _synonyms()[1]


@cache
def _synonyms() -> tuple[Any, str]:
    import nltk

    for name in ("corpora/wordnet", "corpora/wordnet.zip"):
        try:
            nltk.data.find(name)
        except LookupError:
            continue
        from nltk.corpus import wordnet

        return wordnet, "exact+stem+wordnet"
    return _NoSynonyms(), "exact+stem"

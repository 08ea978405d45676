"""ROUGE (Lin, 2004): Google's `rouge-score`, and the variants of pycocoevalcap and of the package `rouge`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from medmvl.tasks.metrics.tally import Tally, mean_tally
from medmvl.tasks.metrics.text import has_chinese, words

_LATIN = re.compile(r"[^a-z0-9]+")
VARIANTS = {"rouge-1": "rouge1", "rouge-2": "rouge2", "rouge-l": "rougeL"}
COCO_BETA = 1.2
PACKAGE_EPSILON = 1e-8


def rouge(answers: Sequence[str], references: Sequence[Sequence[str]], variant: str) -> Tally:
    """F1 of `rouge-score`, per sample the best over references; no stemming; Chinese by character.

    Args:
        answers: one text per sample.
        references: one or more texts per sample.
        variant: `rouge-1`, `rouge-2` or `rouge-l`.
    """
    scorer = _scorer(VARIANTS[variant])
    return mean_tally(
        max(scorer.score(text, answer)[VARIANTS[variant]].fmeasure for text in texts)
        for answer, texts in zip(answers, references, strict=True)
    )


def coco_rouge_l(answers: Sequence[str], references: Sequence[Sequence[str]]) -> Tally:
    """ROUGE-L of pycocoevalcap: tokens by single spaces, beta 1.2, best precision and best recall taken apart."""
    return mean_tally(_coco_rouge_l(answer, texts) for answer, texts in zip(answers, references, strict=True))


def package_rouge(answer: str, reference: str, variant: str) -> float:
    """F1 of the package `rouge` 1.0: sets instead of counts, sentences by full stops, 1e-8 in the denominator.

    Returns 0 for an empty side, where the package raises.
    """
    given, wanted = _sentences(answer.lower()), _sentences(reference.lower())
    if not given or not wanted:
        return 0.0
    given_words, wanted_words = [w for s in given for w in s], [w for s in wanted for w in s]
    if variant == "rouge-l":
        shared: set[str] = set()
        for sentence in wanted:
            shared = shared.union(*(_common_subsequence(sentence, other) for other in given))
        return _package_f1(len(shared), len(set(given_words)), len(set(wanted_words)))
    order = {"rouge-1": 1, "rouge-2": 2}[variant]
    a, b = (
        {tuple(text[start : start + order]) for start in range(len(text) - order + 1)}
        for text in (given_words, wanted_words)
    )
    return _package_f1(len(a & b), len(a), len(b))


def _package_f1(shared: int, given: int, wanted: int) -> float:
    precision, recall = (shared / given if given else 0.0), (shared / wanted if wanted else 0.0)
    return 2 * precision * recall / (precision + recall + PACKAGE_EPSILON)


def _sentences(text: str) -> list[list[str]]:
    """Words of each piece between full stops; an empty piece is one empty word, as in the package."""
    return [" ".join(part.split()).split(" ") for part in text.split(".") if part]


def _coco_rouge_l(answer: str, references: Sequence[str]) -> float:
    given = answer.split(" ")
    overlaps = [
        (len(_common_subsequence_list(text.split(" "), given)), len(text.split(" "))) for text in references
    ]
    precision = max(shared for shared, _ in overlaps) / len(given)
    recall = max(shared / length for shared, length in overlaps)
    square = COCO_BETA**2
    return (1 + square) * precision * recall / (recall + square * precision) if precision and recall else 0.0


def _common_subsequence(wanted: list[str], given: list[str]) -> set[str]:
    return set(_common_subsequence_list(wanted, given))


def _common_subsequence_list(wanted: list[str], given: list[str]) -> list[str]:
    """A longest common subsequence; among equally long ones, the one the package `rouge` walks to."""
    table = [[0] * (len(given) + 1) for _ in range(len(wanted) + 1)]
    for i, left in enumerate(wanted, 1):
        row, above = table[i], table[i - 1]
        for j, right in enumerate(given, 1):
            row[j] = above[j - 1] + 1 if left == right else max(above[j], row[j - 1])
    found, i, j = [], len(wanted), len(given)
    while i and j:
        if wanted[i - 1] == given[j - 1]:
            found.append(wanted[i - 1])
            i, j = i - 1, j - 1
        elif table[i - 1][j] > table[i][j - 1]:
            i -= 1
        else:
            j -= 1
    return found[::-1]


class _Words:
    """rouge-score's own tokens, and `text.words` where there is Chinese, which its tokenizer drops."""

    def tokenize(self, text: str) -> list[str]:
        return words(text) if has_chinese(text) else _LATIN.sub(" ", text.lower()).split()


@cache
def _scorer(name: str) -> Any:
    from rouge_score.rouge_scorer import RougeScorer

    return RougeScorer([name], use_stemmer=False, tokenizer=_Words())

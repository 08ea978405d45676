"""Open answers and reports: exact match and F1 over words, as SQuAD does (Rajpurkar 2016).

Articles are kept: they are words of a report like others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from medmvl.tasks.metrics.text import normalise, words


def exact_match(answer: str, references: Iterable[str]) -> bool:
    """Whether the answer equals a reference once both are normalised. An empty answer equals nothing."""
    given = normalise(answer)
    return bool(given) and any(given == normalise(reference) for reference in references)


def token_f1(answer: str, references: Iterable[str]) -> float:
    """The best F1 of the answer's words against a reference's, repeats counted; 0 for an empty answer."""
    return max((_f1(words(answer), words(reference)) for reference in references), default=0.0)


def token_recall(answer: str, references: Iterable[str]) -> float:
    """The largest share of a reference's words that the answer has; a long answer can only gain by it."""
    return max((_recall(words(answer), words(reference)) for reference in references), default=0.0)


def _recall(given: list[str], wanted: list[str]) -> float:
    return sum((Counter(given) & Counter(wanted)).values()) / len(wanted) if wanted else 0.0


def _f1(given: list[str], wanted: list[str]) -> float:
    shared = sum((Counter(given) & Counter(wanted)).values())
    return 2 * shared / (len(given) + len(wanted)) if shared else 0.0

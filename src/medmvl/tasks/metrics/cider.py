"""CIDEr-D (Vedantam et al., CVPR 2015) as pycocoevalcap computes it: times 10, n-grams of 1 to 4, sigma 6.

Document frequencies come from the references of all samples, so a value belongs to its whole test set, and a
resample keeps the frequencies of the full set. The length in the penalty is counted in bigrams, as there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from medmvl.tasks.metrics.bleu import ngrams
from medmvl.tasks.metrics.tally import Tally, mean_tally
from medmvl.tasks.metrics.tokens import Tokenize

ORDERS = 4
SIGMA = 6.0
SCALE = 10.0

Vector = dict[tuple[str, ...], float]


def cider(answers: Sequence[str], references: Sequence[Sequence[str]], tokenize: Tokenize) -> Tally:
    """CIDEr-D per sample, 0 to 10; a set of one sample is worth 0, since no word is rarer than another."""
    counted = [[_counts(tokenize(text)) for text in texts] for texts in references]
    frequency = Counter(gram for texts in counted for gram in {gram for text in texts for gram in text})
    size = math.log(len(references)) if references else 0.0
    idf = {gram: size - math.log(count) for gram, count in frequency.items()}
    return mean_tally(
        _score(_counts(tokenize(answer)), texts, idf, size)
        for answer, texts in zip(answers, counted, strict=True)
    )


def _counts(tokens: list[str]) -> Counter[tuple[str, ...]]:
    total: Counter[tuple[str, ...]] = Counter()
    for order in range(1, ORDERS + 1):
        total.update(ngrams(tokens, order))
    return total


def _score(
    answer: Counter[tuple[str, ...]], references: list[Counter[tuple[str, ...]]], idf: Vector, rare: float
) -> float:
    given, given_norms, given_length = _weigh(answer, idf, rare)
    total = 0.0
    for reference in references:
        wanted, norms, length = _weigh(reference, idf, rare)
        penalty = math.exp(-((given_length - length) ** 2) / (2 * SIGMA**2))
        for order in range(ORDERS):
            dot = sum(
                min(weight, wanted.get(gram, 0.0)) * wanted.get(gram, 0.0)
                for gram, weight in given.items()
                if len(gram) == order + 1
            )
            norm = given_norms[order] * norms[order]
            total += penalty * (dot / norm if norm else dot)
    return SCALE * total / ORDERS / len(references)


def _weigh(counts: Counter[tuple[str, ...]], idf: Vector, rare: float) -> tuple[Vector, list[float], int]:
    """Weights of n-grams, the norm of each order, and the number of bigrams."""
    weights = {gram: count * idf.get(gram, rare) for gram, count in counts.items()}
    squares = [0.0] * ORDERS
    for gram, weight in weights.items():
        squares[len(gram) - 1] += weight**2
    length = sum(count for gram, count in counts.items() if len(gram) == 2)
    return weights, [math.sqrt(square) for square in squares], length

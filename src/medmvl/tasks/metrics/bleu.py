"""BLEU (Papineni et al., ACL 2002) from counts that add up over samples, for any order from 1 to 4.

One count serves the conventions that differ only in tokens and smoothing: sacrebleu, Hugging Face `evaluate`,
nltk without smoothing, and pycocoevalcap (which adds 1e-15 to matches and 1e-9 to totals).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np

from medmvl.tasks.metrics.tally import Floats, Tally, ratio
from medmvl.tasks.metrics.tokens import Tokenize

ORDERS = 4
COCO_TINY, COCO_SMALL = 1e-15, 1e-9


def bleu(
    answers: Sequence[str],
    references: Sequence[Sequence[str]],
    order: int,
    tokenize: Tokenize,
    *,
    coco: bool = False,
) -> Tally:
    """BLEU-`order`, 0 to 1, with uniform weights and the closest reference length.

    Args:
        answers: one text per sample.
        references: one or more texts per sample.
        order: longest n-gram, 1 to 4.
        tokenize: text to tokens.
        coco: pycocoevalcap's epsilons, by which an order without a match does not make the whole 0.
    """
    assert 1 <= order <= ORDERS
    rows = np.array(
        [
            _counts(tokenize(answer), [tokenize(text) for text in texts])
            for answer, texts in zip(answers, references, strict=True)
        ],
        dtype=np.float64,
    ).reshape(-1, 2 * ORDERS + 2)
    return Tally(rows, partial(_value, order=order, coco=coco))


def ngrams(tokens: Sequence[str], order: int) -> Counter[tuple[str, ...]]:
    """How often each n-gram occurs."""
    return Counter(tuple(tokens[start : start + order]) for start in range(len(tokens) - order + 1))


def _counts(answer: list[str], references: list[list[str]]) -> list[int]:
    """Matches of orders 1 to 4, totals of orders 1 to 4, answer length, closest reference length."""
    matches, totals = [], []
    for order in range(1, ORDERS + 1):
        given = ngrams(answer, order)
        allowed: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            allowed |= ngrams(reference, order)
        matches.append(sum((given & allowed).values()))
        totals.append(sum(given.values()))
    closest = min((abs(len(text) - len(answer)), len(text)) for text in references)[1]
    return [*matches, *totals, len(answer), closest]


def _value(sums: Floats, order: int, coco: bool) -> Floats:
    matches, totals = sums[..., :order], sums[..., ORDERS : ORDERS + order]
    length, wanted = sums[..., -2], sums[..., -1]
    if coco:
        precisions = (matches + COCO_TINY) / (totals + COCO_SMALL)
        share = (length + COCO_TINY) / (wanted + COCO_SMALL)
    else:
        precisions, share = ratio(matches, totals), ratio(length, wanted, 1.0)
    with np.errstate(divide="ignore"):
        brevity = np.exp(np.minimum(0.0, 1 - 1 / share))
        mean = np.exp(np.log(precisions).mean(-1))
    return np.where(length > 0, brevity * mean, 0.0)

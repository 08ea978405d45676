"""chrF2 (Popović, WMT 2015) from counts that add up: F2 over character n-grams of 1 to 6, spaces left out.

Needs no tokens, so English and Chinese are treated alike. Equal to sacrebleu's chrF2, on a scale of 0 to 1.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from medmvl.tasks.metrics.tally import Floats, Tally, ratio

ORDERS = 6
BETA = 2.0


def chrf(answers: Sequence[str], references: Sequence[Sequence[str]]) -> Tally:
    """ChrF2; of several references each sample counts the one that suits it best."""
    rows = [
        max((_counts(answer, text) for text in texts), key=lambda row: float(_value(np.array(row))))
        for answer, texts in zip(answers, references, strict=True)
    ]
    return Tally(np.array(rows, dtype=np.float64).reshape(-1, 3 * ORDERS), _value)


def _counts(answer: str, reference: str) -> list[float]:
    """Per order: n-grams of the answer, of the reference, shared."""
    given, wanted = "".join(answer.split()), "".join(reference.split())
    row: list[float] = []
    for order in range(1, ORDERS + 1):
        a, b = _grams(given, order), _grams(wanted, order)
        counted = sum(a.values()) if b else 0  # sacrebleu leaves out an order the reference does not have
        row += [counted, sum(b.values()), sum((a & b).values())]
    return row


def _grams(text: str, order: int) -> Counter[str]:
    return Counter(text[start : start + order] for start in range(len(text) - order + 1))


def _value(sums: Floats) -> Floats:
    given, wanted, shared = sums[..., 0::3], sums[..., 1::3], sums[..., 2::3]
    used = (given > 0) & (wanted > 0)
    orders = used.sum(-1)
    precision = ratio((ratio(shared, given) * used).sum(-1), orders)
    recall = ratio((ratio(shared, wanted) * used).sum(-1), orders)
    return ratio((1 + BETA**2) * precision * recall, BETA**2 * precision + recall)

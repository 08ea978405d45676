"""Tally: a number that can be taken again of any resample, since each sample adds known counts to it.

BLEU, F1 over labels or CRG are not means of samples; they are functions of sums. Keeping the counts of every
sample lets a bootstrap recompute them exactly: the value of a resample is `value(rows[drawn].sum(0))`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Tally:
    """What each sample adds, and what the sums are worth."""

    rows: Floats
    """(samples, counts)."""
    value: Callable[[Floats], Floats]
    """Sums (..., counts) to values (...)."""

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.rows)

    def corpus(self) -> float:
        """The value of all samples together; NaN of none."""
        return float(self.value(self.rows.sum(0))) if len(self.rows) else float("nan")

    def each(self) -> Floats:
        """The value of every sample alone: (samples,)."""
        return np.asarray(self.value(self.rows), dtype=np.float64)

    def sample_mean(self) -> float:
        """The mean of the samples' own values, of those that have one; NaN of none."""
        values = self.each()
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else float("nan")


def mean_tally(scores: Iterable[float]) -> Tally:
    """A plain mean as a tally: every sample adds its score and 1."""
    values = np.fromiter((float(score) for score in scores), dtype=np.float64)
    return Tally(
        np.stack([values, np.ones_like(values)], axis=1), lambda sums: ratio(sums[..., 0], sums[..., 1])
    )


def ratio(part: Floats, whole: Floats, empty: float = 0.0) -> Floats:
    """`part / whole`, and `empty` where the whole is 0."""
    part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    filled = np.full(np.broadcast_shapes(part.shape, whole.shape), empty)
    np.divide(part, whole, out=filled, where=whole != 0)
    return filled

"""Intervals that respect patients: several questions about one patient are not several patients.

Sources: Wilson 1927; Field and Welsh 2007 (cluster bootstrap); Liang and Zeger 1986 (cluster-robust
variance).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

NUM_RESAMPLES = 2000
_RARE = 10
"""With fewer right, or fewer wrong, answers than this a bootstrap is too narrow (it has width 0 at 1.00)."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A mean with its interval."""

    value: float
    low: float
    high: float
    n: int
    """Answers."""
    clusters: int
    """Patients (or studies, or image groups)."""
    method: Literal["bootstrap", "wilson"]

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(self.__dict__)


def wilson(proportion: float, n: float, level: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion in `n` independent trials; `n` may be a broken, effective number."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    centre = proportion + z * z / (2 * n)
    half = z * math.sqrt(proportion * (1 - proportion) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low = 0.0 if proportion == 0 else max(0.0, (centre - half) / scale)  # exact where rounding is not
    high = 1.0 if proportion == 1 else min(1.0, (centre + half) / scale)
    return low, high


def effective_n(scores: Sequence[float], clusters: Sequence[Hashable]) -> float:
    """How many independent answers the clustered ones are worth.

    That is `p (1 - p)` over the cluster-robust variance of p.
    Never more than the answers. Where all answers are equally right the variance says nothing; the number
    of clusters then is the cautious choice.
    """
    sums, sizes = _cluster_sums(scores, clusters)
    n, k = float(sizes.sum()), len(sizes)
    p = float(sums.sum()) / n
    if k < 2 or p in (0.0, 1.0):
        return float(k)
    variance = float(((sums - p * sizes) ** 2).sum()) / n**2 * k / (k - 1)
    return min(n, p * (1 - p) / variance) if variance > 0 else n


def mean_interval(
    scores: Sequence[float], clusters: Sequence[Hashable], *, seed: int = 0, level: float = 0.95
) -> Interval:
    """Mean of scores with a percentile bootstrap interval over clusters.

    Right-or-wrong scores that are nearly all right or nearly all wrong get Wilson's interval at the
    cluster-effective n instead. Clusters are drawn whole, so the interval does not shrink because a patient
    was asked more often.
    """
    sums, sizes = _cluster_sums(scores, clusters)
    value = float(sums.sum() / sizes.sum())
    n_effective = effective_n(scores, clusters)
    binary = all(score in (0.0, 1.0) for score in scores)
    if binary and min(value, 1 - value) * n_effective < _RARE:
        low, high = wilson(value, n_effective, level)
        return Interval(value, low, high, len(scores), len(sizes), "wilson")
    low, high = _bootstrap(sums, sizes, seed, level)
    return Interval(value, low, high, len(scores), len(sizes), "bootstrap")


def difference_interval(
    scores: Sequence[float],
    others: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Mean of `scores - others`, paired by answer, with a percentile bootstrap interval over clusters."""
    differences = [a - b for a, b in zip(scores, others, strict=True)]
    sums, sizes = _cluster_sums(differences, clusters)
    low, high = _bootstrap(sums, sizes, seed, level)
    return Interval(float(sums.sum() / sizes.sum()), low, high, len(differences), len(sizes), "bootstrap")


def _cluster_sums(scores: Sequence[float], clusters: Sequence[Hashable]) -> tuple[Floats, Floats]:
    """Sum and size of every cluster, in order of first appearance."""
    assert len(scores) == len(clusters) > 0
    index = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
    where = [index[cluster] for cluster in clusters]
    return np.bincount(where, weights=scores).astype(np.float64), np.bincount(where).astype(np.float64)


def _bootstrap(sums: Floats, sizes: Floats, seed: int, level: float) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    k = len(sums)
    means = np.empty(NUM_RESAMPLES)
    for start in range(0, NUM_RESAMPLES, 100):  # in pieces: 100 x k indices at a time
        drawn = rng.integers(0, k, (100, k))
        means[start : start + 100] = sums[drawn].sum(1) / sizes[drawn].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)

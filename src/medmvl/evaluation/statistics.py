"""Intervals that respect patients: several questions about one patient are not several patients.

Sources: Wilson 1927; Field and Welsh 2007 (cluster bootstrap); Liang and Zeger 1986 (cluster-robust
variance). Two models are compared in `significance.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medmvl.json_types import JsonObject
from medmvl.tasks.metrics.tally import Tally

NUM_RESAMPLES = 2000
LEVEL = 0.95
"""Confidence of every interval."""
_RARE = 10
"""With fewer right, or fewer wrong, answers than this a bootstrap is too narrow (it has width 0 at 1.00)."""

FEW_CLUSTERS = 20
"""Below this many clusters a bootstrap interval is rough, and everything that shows one says so."""

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]


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

    def to_json(self) -> JsonObject:
        """Plain values."""
        return dict(self.__dict__)


def wilson(proportion: float, n: float) -> tuple[float, float]:
    """Wilson's score interval of a proportion in `n` independent trials; `n` may be a fractional, effective number."""
    z = NormalDist().inv_cdf(0.5 + LEVEL / 2)
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
    sums, sizes = cluster_sums(scores, clusters)
    n, k = float(sizes.sum()), len(sizes)
    p = float(sums.sum()) / n
    if k < 2 or p in (0.0, 1.0):
        return float(k)
    variance = float(((sums - p * sizes) ** 2).sum()) / n**2 * k / (k - 1)
    return min(n, p * (1 - p) / variance) if variance > 0 else n


def mean_interval(scores: Sequence[float], clusters: Sequence[Hashable], *, seed: int = 0) -> Interval:
    """Mean of scores with a percentile bootstrap interval over clusters.

    Right-or-wrong scores that are nearly all right or nearly all wrong get Wilson's interval at the
    cluster-effective n instead. Clusters are drawn whole, so the interval does not shrink because a patient
    was asked more often.
    """
    sums, sizes = cluster_sums(scores, clusters)
    value = float(sums.sum() / sizes.sum())
    n_effective = effective_n(scores, clusters)
    binary = all(score in (0.0, 1.0) for score in scores)
    if binary and min(value, 1 - value) * n_effective < _RARE:
        low, high = wilson(value, n_effective)
        return Interval(value, low, high, len(scores), len(sizes), "wilson")
    low, high = _bootstrap(sums, sizes, seed)
    return Interval(value, low, high, len(scores), len(sizes), "bootstrap")


def difference_interval(
    scores: Sequence[float],
    others: Sequence[float],
    clusters: Sequence[Hashable],
    *,
    seed: int = 0,
) -> Interval:
    """Mean of `scores - others`, paired by answer, with a percentile bootstrap interval over clusters."""
    differences = [a - b for a, b in zip(scores, others, strict=True)]
    sums, sizes = cluster_sums(differences, clusters)
    low, high = _bootstrap(sums, sizes, seed)
    return Interval(float(sums.sum() / sizes.sum()), low, high, len(differences), len(sizes), "bootstrap")


def tally_interval(tally: Tally, clusters: Sequence[Hashable], *, seed: int = 0) -> Interval:
    """A corpus value (BLEU, F1, a difference of maxima) with the value taken again of every resample.

    Clusters are drawn whole; a resample's counts are the sums of its clusters' counts, so 2000 resamples of a
    corpus cost one matrix product. Resamples in which the value is not defined (NaN) are left out.
    """
    assert len(tally) == len(clusters) > 0
    where = _numbered(clusters)
    k = int(where.max()) + 1
    sums = np.zeros((k, tally.rows.shape[1]))
    np.add.at(sums, where, tally.rows)
    rng = np.random.default_rng(seed)
    values = [tally.value(drawn @ sums) for drawn in _draws(rng, k)]
    low, high = _percentiles(np.concatenate(values))
    return Interval(tally.corpus(), low, high, len(tally), k, "bootstrap")


def bootstrap_interval(
    statistic: Callable[[Integers], float],
    clusters: Sequence[Hashable],
    *,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Any statistic, such as an AUROC, with a percentile bootstrap interval over clusters.

    Args:
        statistic: gets the indices of the answers in a resample, with repetitions, and returns a number (NaN
            where it is not defined, such as where all truths are alike; those resamples are left out).
        clusters: the patient (or study, ...) of every answer.
        seed: seed for the resamples.
        num_resamples: fewer where the statistic is slow.
    """
    where = _numbered(clusters)
    members = [np.flatnonzero(where == number) for number in range(int(where.max()) + 1)]
    rng = np.random.default_rng(seed)
    k = len(members)
    drawn = (rng.integers(0, k, k) for _ in range(num_resamples))
    values = np.array([statistic(np.concatenate([members[i] for i in chosen])) for chosen in drawn])
    low, high = _percentiles(values)
    return Interval(statistic(np.arange(len(where))), low, high, len(where), k, "bootstrap")


def _numbered(clusters: Sequence[Hashable]) -> Integers:
    """The number of every answer's cluster, in order of first appearance."""
    index = {cluster: i for i, cluster in enumerate(dict.fromkeys(clusters))}
    return np.array([index[cluster] for cluster in clusters], dtype=np.intp)


def _draws(rng: np.random.Generator, k: int) -> Iterator[Floats]:
    """How often each of `k` clusters is in a resample: `(100, k)` at a time."""
    for _ in range(0, NUM_RESAMPLES, 100):
        yield rng.multinomial(k, np.full(k, 1 / k), 100).astype(np.float64)


def _percentiles(values: Floats) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def cluster_sums(scores: Sequence[float], clusters: Sequence[Hashable]) -> tuple[Floats, Floats]:
    """Sum and size of every cluster, in order of first appearance."""
    assert len(scores) == len(clusters) > 0
    where = _numbered(clusters)
    return np.bincount(where, weights=scores).astype(np.float64), np.bincount(where).astype(np.float64)


def _bootstrap(sums: Floats, sizes: Floats, seed: int) -> tuple[float, float]:
    rng = np.random.default_rng(seed)
    means = [(drawn @ sums) / (drawn @ sizes) for drawn in _draws(rng, len(sums))]
    return _percentiles(np.concatenate(means))

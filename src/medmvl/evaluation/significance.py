"""Two models on the same answers: sign-flip permutation by cluster, Holm over a table, and what n could show.

Sources: Fisher 1935 and Winkler et al. 2014 (sign flipping of exchangeable blocks); Phipson and Smyth 2010
(a permutation p is never 0); Holm 1979; the smallest detectable difference is the usual two-sided normal one
at the cluster-robust standard error.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from statistics import NormalDist

import numpy as np

from medmvl.evaluation.statistics import LEVEL, Floats, cluster_sums

EXACT_CLUSTERS = 14
"""Up to this many clusters that differ, all sign patterns are tried (16384)."""
NUM_PERMUTATIONS = 9999
POWER = 0.8
_TOLERANCE = 1e-12
"""Sums that differ by rounding only count as equal."""


def sign_flip_p(differences: Sequence[float], clusters: Sequence[Hashable], *, seed: int = 0) -> float:
    """Two-sided p that two models answer equally well: within every cluster they may be exchanged.

    All answers about one patient change sides together. Exact where few clusters differ; otherwise over
    random sign patterns, the observed one counted, so p is never 0.

    Args:
        differences: score of one model minus that of the other, one number per answer.
        clusters: the patient (or study, ...) of every answer.
        seed: seed for the random sign patterns.
    """
    sums, _ = cluster_sums(differences, clusters)
    sums = sums[sums != 0]
    if not len(sums):
        return 1.0
    observed = abs(float(sums.sum())) - _TOLERANCE * float(np.abs(sums).sum())
    if len(sums) <= EXACT_CLUSTERS:
        patterns = (np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))) & 1
        return float((np.abs((1 - 2 * patterns) @ sums) >= observed).mean())
    rng = np.random.default_rng(seed)
    extreme = 0
    for start in range(0, NUM_PERMUTATIONS, 500):
        count = min(500, NUM_PERMUTATIONS - start)
        signs = 1.0 - 2.0 * rng.integers(0, 2, (count, len(sums)))
        extreme += int((np.abs(signs @ sums) >= observed).sum())
    return (extreme + 1) / (NUM_PERMUTATIONS + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given: below alpha where the family-wise error stays below alpha."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    highest = 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted


def detectable_difference(differences: Sequence[float], clusters: Sequence[Hashable]) -> float | None:
    """The smallest true difference of means that these clusters would show with the power `POWER`.

    That is `(z(1 - alpha/2) + z(POWER))` cluster-robust standard errors of the paired difference. None where
    there is one cluster, or no difference to learn a standard error from.
    """
    error = standard_error(differences, clusters)
    if not error:
        return None
    normal = NormalDist()
    return (normal.inv_cdf(0.5 + LEVEL / 2) + normal.inv_cdf(POWER)) * error


def standard_error(values: Sequence[float], clusters: Sequence[Hashable]) -> float | None:
    """Cluster-robust standard error of a mean (Liang and Zeger, k / (k - 1)); None of one cluster."""
    sums, sizes = cluster_sums(values, clusters)
    n, k = float(sizes.sum()), len(sizes)
    if k < 2:
        return None
    residuals: Floats = sums - sums.sum() / n * sizes
    return float(np.sqrt((residuals**2).sum() * k / (k - 1)) / n)

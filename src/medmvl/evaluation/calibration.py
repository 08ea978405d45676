"""Whether a model knows what it does not know: calibration of its choices, and accuracy when it may abstain.

Sources: Guo et al., ICML 2017 (expected calibration error); Geifman and El-Yaniv, NeurIPS 2017 (selective
classification: risk over coverage).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medmvl.evaluation.results import Judged
from medmvl.evaluation.statistics import Floats, Interval, mean_interval, tally_interval
from medmvl.json_types import JsonObject
from medmvl.tasks import Group, Task
from medmvl.tasks.metrics.classification import calibration_error

BINS = 10
COVERAGES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)


@dataclass(frozen=True)
class ScoredChoice:
    """One closed question with the model's probability of each choice."""

    probabilities: tuple[float, ...]
    right: bool
    """True where the likeliest choice is accepted."""
    cluster: str

    @property
    def confidence(self) -> float:
        """Probability of the likeliest choice."""
        return max(self.probabilities)


@dataclass(frozen=True)
class Calibration:
    """What a group's confidences are worth."""

    accuracy: Interval
    """Accuracy of the likeliest choice."""
    error: Interval
    """Expected calibration error: |accuracy - confidence|, 0 is best; biased upwards where n is small."""
    bins: tuple[tuple[float, float, int], ...]
    """Mean confidence, accuracy and number of answers of every bin that has some."""
    kept: tuple[tuple[float, float], ...]
    """Share answered, the least confident left out first, and accuracy of what was answered."""

    def to_json(self) -> JsonObject:
        """Plain values."""
        return {
            "accuracy": self.accuracy.to_json(), "error": self.error.to_json(),
            "bins": [list(item) for item in self.bins], "kept": [list(item) for item in self.kept],
        }  # fmt: skip


def probabilities(logprobs: Sequence[float]) -> tuple[float, ...]:
    """Log-likelihoods of the candidates as probabilities among them."""
    highest = max(logprobs)
    weights = [math.exp(value - highest) for value in logprobs]
    return tuple(weight / sum(weights) for weight in weights)


def calibrate(scored: Sequence[ScoredChoice], seed: int = 0) -> Calibration:
    """Calibration of a group of closed questions, with intervals over clusters."""
    confidence = np.array([item.confidence for item in scored])
    right = np.array([item.right for item in scored], dtype=float)
    clusters = [item.cluster for item in scored]
    errors = calibration_error(confidence.tolist(), (right > 0).tolist(), BINS)
    return Calibration(
        accuracy=mean_interval(right.tolist(), clusters, seed=seed),
        error=tally_interval(errors, clusters, seed=seed),
        bins=_bins(confidence, right),
        kept=accuracy_kept(confidence.tolist(), right.tolist()),
    )


def accuracy_kept(
    confidences: Sequence[float], right: Sequence[float], coverages: Sequence[float] = COVERAGES
) -> tuple[tuple[float, float], ...]:
    """Accuracy of the most confident share of answers; among equally confident ones their mean counts."""
    confidence, hits = np.asarray(confidences), np.asarray(right, dtype=float)
    order = np.argsort(-confidence, kind="stable")
    levels, where = np.unique(-confidence, return_inverse=True)
    even = (np.bincount(where, hits) / np.bincount(where))[where][order]  # ties share their accuracy
    sizes = [max(1, round(share * len(hits))) for share in coverages]
    assert len(levels) > 0
    return tuple((n / len(hits), float(even[:n].mean())) for n in sizes)


def _bins(confidence: Floats, right: Floats) -> tuple[tuple[float, float, int], ...]:
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    return tuple(
        (float(confidence[place == i].mean()), float(right[place == i].mean()), int((place == i).sum()))
        for i in range(BINS)
        if (place == i).any()
    )


def calibration_rows(
    task: Task, judged: Sequence[Judged], logprobs: Mapping[str, Sequence[float]], seed: int
) -> list[JsonObject]:
    """For every group of closed questions: how far the likelihood of the choices can be believed.

    Args:
        task: judges the likeliest choice.
        judged: the answers, which name group and cluster.
        logprobs: log-likelihood of every choice, by the id of the sample.
        seed: seed for the bootstrap.
    """
    samples = {sample.id: sample for sample in task.samples}
    groups: dict[Group, list[ScoredChoice]] = {}
    for item in judged:
        if item.id in logprobs:
            values = list(logprobs[item.id])
            likeliest = task.target(samples[item.id]).choices[values.index(max(values))]
            right = task.judge(samples[item.id], likeliest).score == 1
            groups.setdefault(item.group, []).append(ScoredChoice(probabilities(values), right, item.cluster))
    return [{**group.__dict__, **calibrate(items, seed).to_json()} for group, items in groups.items()]

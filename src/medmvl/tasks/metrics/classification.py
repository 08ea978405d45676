"""Classification: F1 and balanced accuracy as tallies that a bootstrap can take again, and calibration.

Sources: Guo et al., ICML 2017 (expected calibration error). F1 and balanced accuracy are tested to equal scikit-learn's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medmvl.errors import UserError
from medmvl.tasks.metrics.tally import Floats, Tally, ratio

BINS = 15


def class_counts(given: Sequence[str | None], wanted: Sequence[str]) -> tuple[Floats, list[str]]:
    """Per sample and class of the truths: true positive, false positive, false negative; (samples, 3 x classes).

    None, or a class that no truth has, is a miss of the true class and a false positive of none.
    """
    classes = sorted(set(wanted))
    index = {name: number for number, name in enumerate(classes)}
    rows = np.zeros((len(wanted), len(classes), 3))
    for row, answer, truth in zip(rows, given, wanted, strict=True):
        if answer == truth:
            row[index[truth], 0] = 1
        else:
            row[index[truth], 2] = 1
            if answer in index:
                row[index[answer], 1] = 1
    return rows.reshape(len(wanted), -1), classes


def macro_f1(given: Sequence[str | None], wanted: Sequence[str]) -> Tally:
    """Mean of the classes' F1, over classes that occur in the truths of the (re)sample."""
    return Tally(class_counts(given, wanted)[0], _macro_f1)


def micro_f1(given: Sequence[str | None], wanted: Sequence[str]) -> Tally:
    """F1 over all decisions together; an answer of no class counts as a miss only."""
    return Tally(class_counts(given, wanted)[0], _micro_f1)


def balanced_accuracy(given: Sequence[str | None], wanted: Sequence[str]) -> Tally:
    """Mean of the classes' recall, over classes that occur in the truths of the (re)sample."""
    return Tally(class_counts(given, wanted)[0], _balanced_accuracy)


def calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = BINS) -> Tally:
    """Expected calibration error: |accuracy - confidence| in equal bins of confidence, weighted by their sizes.

    Raises:
        UserError: a confidence is no probability.
    """
    given = np.asarray(confidences, dtype=np.float64)
    if ((given < 0) | (given > 1)).any():
        raise UserError("calibration needs confidences between 0 and 1")
    places = np.clip(np.ceil(given * bins).astype(int) - 1, 0, bins - 1)  # (0, 1/bins], ...
    rows = np.zeros((len(given), bins, 2))
    rows[np.arange(len(given)), places, 0] = given - np.asarray(right, dtype=np.float64)
    rows[:, 0, 1] = 1
    return Tally(rows.reshape(len(given), -1), _calibration_error)


def _calibration_error(sums: Floats) -> Floats:
    gaps = sums[..., 0::2]
    return ratio(np.abs(gaps).sum(-1), sums[..., 1])


def _split(sums: Floats) -> tuple[Floats, Floats, Floats]:
    counts = sums.reshape(*sums.shape[:-1], -1, 3)
    return counts[..., 0], counts[..., 1], counts[..., 2]


def _macro_f1(sums: Floats) -> Floats:
    hit, false, missed = _split(sums)
    return _mean_where(ratio(2 * hit, 2 * hit + false + missed), hit + missed > 0)


def _micro_f1(sums: Floats) -> Floats:
    hit, false, missed = (part.sum(-1) for part in _split(sums))
    return ratio(2 * hit, 2 * hit + false + missed)


def _balanced_accuracy(sums: Floats) -> Floats:
    hit, _, missed = _split(sums)
    return _mean_where(ratio(hit, hit + missed), hit + missed > 0)


def _mean_where(values: Floats, occurs: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Floats:
    return ratio((values * occurs).sum(-1), occurs.sum(-1))

"""Classification: F1 and balanced accuracy as tallies that a bootstrap can take again; AUROC and calibration.

Sources: Guo et al., ICML 2017 (expected calibration error); Brier 1950. AUROC and the Brier score are
scikit-learn's; the tallies are tested to equal its values.
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


def auroc(scores: Sequence[float], wanted: Sequence[bool]) -> float:
    """Area under the ROC curve.

    Raises:
        UserError: all truths are alike, so there is no curve.
    """
    from sklearn.metrics import roc_auc_score

    if len(set(wanted)) < 2:
        raise UserError("AUROC needs samples with and without the finding; all truths are alike")
    return float(roc_auc_score(np.asarray(wanted, dtype=int), np.asarray(scores)))


def brier(probabilities: Sequence[float], wanted: Sequence[bool]) -> float:
    """Mean squared distance of a probability from what was true; 0 is best."""
    from sklearn.metrics import brier_score_loss

    return float(brier_score_loss(np.asarray(wanted, dtype=int), np.asarray(probabilities), pos_label=1))


def calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = BINS) -> float:
    """Expected calibration error: |accuracy - confidence| in equal bins of confidence, weighted by size."""
    given, hits = np.asarray(confidences, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not len(given) or ((given < 0) | (given > 1)).any():
        raise UserError("calibration needs confidences between 0 and 1")
    place = np.clip(np.ceil(given * bins).astype(int) - 1, 0, bins - 1)  # (0, 1/bins], ...
    sizes = np.bincount(place, minlength=bins)
    gaps = np.abs(np.bincount(place, hits, bins) - np.bincount(place, given, bins))
    return float(gaps.sum() / sizes.sum())


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

"""Findings of reports: precision, recall and F1 of every label, their means, and CRG, all from the same counts.

Source: CRG (Hamamci et al., 2025) as the VLM3D challenge computes it: predicting nothing, or everything, is worth
1/3, a perfect labelling 1, an all-wrong one 1/5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from medmvl.errors import UserError
from medmvl.tasks.metrics.tally import Floats, Tally, ratio

HIT, FALSE, MISSED, REJECTED = range(4)


@dataclass(frozen=True)
class FindingCounts:
    """Decisions about labels."""

    names: tuple[str, ...]
    rows: Floats
    """(samples, labels x 4): true positive, false positive, false negative, true negative."""

    def label(self, name: str, what: str) -> Tally:
        """`precision`, `recall` or `f1` of one label."""
        return Tally(self.rows, partial(_one, index=self.names.index(name), what=what))

    def macro(self, what: str = "f1", *, all_labels: bool = False) -> Tally:
        """Mean over the labels that are true somewhere in the (re)sample.

        With `all_labels`, over all of them: one that never occurs then counts 0, as in scikit-learn.
        """
        return Tally(self.rows, partial(_macro, what=what, all_labels=all_labels))

    def micro(self, what: str = "f1") -> Tally:
        """Over all decisions together."""
        return Tally(self.rows, partial(_micro, what=what))

    def crg(self) -> Tally:
        """Clinically relevant gain, NaN where a (re)sample has no positive label."""
        return Tally(self.rows, _crg)


def count_findings(
    given: Sequence[Mapping[str, float]], wanted: Sequence[Mapping[str, float]], names: Sequence[str]
) -> FindingCounts:
    """Compare labels of answers with the truth. Above 0.5 is present; a truth without an entry is not counted.

    Args:
        given: labels of each answer; a label that is missing there is absent.
        wanted: true labels of each sample.
        names: which labels count.

    Raises:
        UserError: there are no labels to compare.
    """
    if not names:
        raise UserError("no labels to compare findings by")
    rows = np.zeros((len(wanted), len(names), 4))
    for row, answer, truth in zip(rows, given, wanted, strict=True):
        for place, name in enumerate(names):
            if name in truth:
                said, there = answer.get(name, 0.0) > 0.5, truth[name] > 0.5
                row[place, (REJECTED, FALSE, MISSED, HIT)[2 * there + said]] = 1
    return FindingCounts(tuple(names), rows.reshape(len(wanted), -1))


def _split(sums: Floats) -> Floats:
    return sums.reshape(*sums.shape[:-1], -1, 4)


def _worth(counts: Floats, what: str) -> Floats:
    hit, false, missed = counts[..., HIT], counts[..., FALSE], counts[..., MISSED]
    if what == "precision":
        return ratio(hit, hit + false)
    if what == "recall":
        return ratio(hit, hit + missed)
    assert what == "f1", what
    return ratio(2 * hit, 2 * hit + false + missed)


def _one(sums: Floats, index: int, what: str) -> Floats:
    return _worth(_split(sums)[..., index, :], what)


def _macro(sums: Floats, what: str, all_labels: bool) -> Floats:
    counts = _split(sums)
    worth = _worth(counts, what)
    if all_labels:
        return np.asarray(worth.mean(-1), dtype=np.float64)
    occurs = counts[..., HIT] + counts[..., MISSED] > 0
    return ratio((worth * occurs).sum(-1), occurs.sum(-1), np.nan)


def _micro(sums: Floats, what: str) -> Floats:
    return _worth(_split(sums).sum(-2), what)


def _crg(sums: Floats) -> Floats:
    counts = _split(sums).sum(-2)
    hit, false, missed = counts[..., HIT], counts[..., FALSE], counts[..., MISSED]
    decisions, positive = counts.sum(-1), hit + missed
    weight = ratio(decisions - positive, 2 * positive, np.nan)
    best = (decisions - positive) / 2
    return ratio(best, 2 * best - (weight * hit - weight * missed - false), np.nan)

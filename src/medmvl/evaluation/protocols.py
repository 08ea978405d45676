"""The answers of a run scored by named protocols, `strict` beside each, with intervals over clusters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from medmvl.evaluation.statistics import Interval, mean_interval, tally_interval
from medmvl.schema import Sample
from medmvl.tasks.protocols import find_protocol
from medmvl.tasks.protocols.predictions import record_of
from medmvl.tasks.protocols.scoring import Score, score


def with_strict(names: Sequence[str]) -> tuple[str, ...]:
    """The names of known protocols, `strict` always among them.

    Raises:
        UserError: a name is unknown.
    """
    return tuple(dict.fromkeys(find_protocol(name).name for name in (*names, "strict")))


def protocol_scores(
    samples: Sequence[Sample],
    texts: Mapping[str, str],
    names: Sequence[str],
    clusters: Sequence[str],
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Every number that the protocols have to say, as plain values; a failed answer is an absent one."""
    records = [
        record_of(sample, {"prediction": texts[sample.id]} if sample.id in texts else None)
        for sample in samples
    ]
    found = [score(records, find_protocol(name)) for name in names]
    return [_row(item, [clusters[i] for i in item.places], seed) for scores in found for item in scores]


def _row(item: Score, clusters: Sequence[str], seed: int) -> dict[str, Any]:
    measure, interval = item.measure, score_interval(item, clusters, seed)
    known = interval is not None and not math.isnan(interval.value + interval.low + interval.high)
    return {
        "protocol": item.protocol, "group": item.group, "metric": measure.name, "note": measure.note,
        "score": interval.to_json() if known and interval else None,
        "n_scored": len(measure.scored), "n_total": measure.total,
    }  # fmt: skip


def score_interval(item: Score, clusters: Sequence[str], seed: int) -> Interval | None:
    """Of the value as its convention reports it: a mean of samples, or a corpus value."""
    tally = item.measure.tally
    if not len(tally):
        return None
    mean = item.measure.per_sample or (tally.rows.shape[1] == 2 and bool((tally.rows[:, 1] == 1).all()))
    if mean:
        return mean_interval(tally.each().tolist(), clusters, seed=seed)
    return tally_interval(tally, clusters, seed=seed)

"""Answers of a run or of a file scored by named protocols, `strict` and `reader` next to each; intervals over clusters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from medmvl.evaluation.clusters import coarsest_identity
from medmvl.evaluation.statistics import Interval, mean_interval, tally_interval
from medmvl.evaluation.warnings import cluster_warnings
from medmvl.json_types import JsonObject
from medmvl.schema import Sample
from medmvl.tasks.metrics.measures import MetricOptions
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.protocols import Protocol, find_protocol
from medmvl.tasks.protocols.predictions import record_of
from medmvl.tasks.protocols.scoring import Score, score, unscored

OURS = ("strict", "reader")
"""Our own protocols, which are always computed next to the published ones."""


def with_ours(names: Sequence[str]) -> tuple[str, ...]:
    """The names of known protocols, `strict` and `reader` always among them.

    Raises:
        UserError: a name is unknown.
    """
    return tuple(dict.fromkeys(find_protocol(name).name for name in (*names, *OURS)))


def protocol_scores(
    samples: Sequence[Sample],
    texts: Mapping[str, str],
    names: Sequence[str],
    clusters: Sequence[str],
    seed: int = 0,
) -> list[JsonObject]:
    """Every number that the protocols have to say, as plain values; a failed answer is an absent one."""
    records = [
        record_of(sample, {"prediction": texts[sample.id]} if sample.id in texts else None)
        for sample in samples
    ]
    found = [score(records, find_protocol(name)) for name in names]
    return [_row(item, [clusters[i] for i in item.places], seed) for scores in found for item in scores]


def _row(item: Score, clusters: Sequence[str], seed: int) -> JsonObject:
    measure, interval = item.measure, score_interval(item, clusters, seed)
    known = interval is not None and not math.isnan(interval.value)
    return {
        "protocol": item.protocol, "group": item.group, "metric": measure.name, "note": measure.note,
        "score": interval.to_json() if known and interval else None,
        "n_scored": len(measure.scored), "n_total": measure.total,
    }  # fmt: skip


def score_interval(item: Score, clusters: Sequence[str], seed: int) -> Interval | None:
    """Interval of the value that its convention reports: a mean of samples, or a corpus value."""
    tally = item.measure.tally
    if not len(tally):
        return None
    mean = item.measure.per_sample or (tally.rows.shape[1] == 2 and bool((tally.rows[:, 1] == 1).all()))
    if mean:
        return mean_interval(tally.each().tolist(), clusters, seed=seed)
    return tally_interval(tally, clusters, seed=seed)


def score_records(
    records: Sequence[Record], names: Sequence[str], options: MetricOptions, seed: int = 0
) -> JsonObject:
    """Everything that the protocols have to say about answers that exist already, as `score.json` holds it.

    Args:
        records: answers with their references.
        names: protocols; `strict` and `reader` are added where they are missing.
        options: what the metrics need, such as a tokenizer or a judge.
        seed: seed for the bootstrap.

    Raises:
        UserError: a protocol is unknown.
    """
    cluster, clusters = coarsest_identity(records) or (
        "answer",
        [str(place) for place in range(len(records))],
    )
    return {
        "records": len(records),
        "missing": sum(record.text is None for record in records),
        "cluster": cluster,
        "clusters": len(set(clusters)),
        "warnings": cluster_warnings(cluster, clusters, "record"),
        "protocols": [
            _protocol(records, find_protocol(name), options, clusters, seed) for name in with_ours(names)
        ],
    }


def _protocol(
    records: Sequence[Record], protocol: Protocol, options: MetricOptions, clusters: Sequence[str], seed: int
) -> JsonObject:
    scores = score(records, protocol, options)
    return {
        "protocol": protocol.name, "title": protocol.title, "source": protocol.source,
        "quirks": list(protocol.quirks), "no_rule_for": unscored(records, protocol),
        "scores": [_score(item, [clusters[place] for place in item.places], seed) for item in scores],
    }  # fmt: skip


def _score(item: Score, clusters: Sequence[str], seed: int) -> JsonObject:
    measure, interval = item.measure, score_interval(item, clusters, seed)
    return {
        "group": item.group, "form": item.form, "question_type": item.question_type, "language": item.language,
        "metric": measure.name, "note": measure.note, "value": _plain(measure.value),
        "low": _plain(interval.low) if interval else None, "high": _plain(interval.high) if interval else None,
        "interval": interval.method if interval else None, "corpus": _plain(measure.tally.corpus()),
        "sample_mean": _plain(measure.tally.sample_mean()), "n_scored": len(measure.scored), "n_total": measure.total,
    }  # fmt: skip


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value

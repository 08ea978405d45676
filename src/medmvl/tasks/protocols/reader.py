"""`reader`, ours: what the answer claims against what the reference claims, given the question; offline and explained."""

from __future__ import annotations

from collections.abc import Sequence

from medmvl.tasks.judge import read_record
from medmvl.tasks.metrics.measures import Measure, MetricOptions, whole
from medmvl.tasks.metrics.record import Form, Record
from medmvl.tasks.metrics.tally import mean_tally
from medmvl.tasks.protocols.base import Protocol

READ: tuple[Form, ...] = ("closed", "choice", "class", "open", "identify")


def _read(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    """The share of right answers, the share of right or partly right ones, and the mean score."""
    readings = [read_record(record) for record in records]
    return [
        whole("right", mean_tally(reading.verdict == "right" for reading in readings)),
        whole("right_or_partly", mean_tally(reading.verdict != "wrong" for reading in readings)),
        whole("score", mean_tally(reading.score for reading in readings)),
    ]


READER = Protocol(
    name="reader",
    title="MedM-VL, as a careful reader",
    source="this project",
    scorers=dict.fromkeys(READ, _read),
    judge=read_record,
)

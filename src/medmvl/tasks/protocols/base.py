"""Protocol: a published way to score answers, with its peculiarities written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from medmvl.tasks.judge import Reading
from medmvl.tasks.metrics.measures import Measure as Measure
from medmvl.tasks.metrics.measures import MetricOptions
from medmvl.tasks.metrics.record import Form, Record
from medmvl.tasks.metrics.tally import Tally

Scorer = Callable[[Sequence[Record], MetricOptions], list[Measure]]


@dataclass(frozen=True)
class Protocol:
    """A named convention. The first measure of each form is its headline."""

    name: str
    title: str
    source: str
    """Source of the convention: code, paper."""
    scorers: Mapping[Form, Scorer]
    """Forms it has a rule for; it says nothing about others."""
    pooled: Scorer | None = None
    """A rule for all records together."""
    quirks: tuple[str, ...] = field(default=())
    """Peculiarities: what it does that `strict` does not."""
    judge: Callable[[Record], Reading] | None = None
    """The verdict on one answer, where the convention has verdicts."""


def some(
    name: str, tally: Tally, scored: Sequence[int], total: int, *, note: str = "", per_sample: bool = False
) -> Measure:
    """A measure that may have left records out."""
    assert len(tally) == len(scored) <= total
    return Measure(name, tally, tuple(scored), total, note, per_sample)


def kept(records: Sequence[Record], keep: Callable[[Record], bool]) -> tuple[list[int], list[Record]]:
    """The records that a convention scores, and their places among all."""
    places = [place for place, record in enumerate(records) if keep(record)]
    return places, [records[place] for place in places]

"""Scoring records by a protocol: numbers per form and language, and the headline of every type of question in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from medmvl.tasks.metrics.measures import DEFAULTS, Measure, MetricOptions
from medmvl.tasks.metrics.record import Form, Record
from medmvl.tasks.metrics.tally import Tally
from medmvl.tasks.protocols.base import Protocol, Scorer

ALL = "all"


@dataclass(frozen=True)
class Score:
    """One number of one protocol about a group of records."""

    protocol: str
    form: Form | None
    """None where all forms are pooled."""
    question_type: str
    """A type or category of question, or `"all"` of the form."""
    language: str
    measure: Measure
    places: tuple[int, ...]
    """Which of all records were scored, in the order of the tally's rows."""

    @property
    def group(self) -> str:
        """What the number is about, in words."""
        what = (self.form or "everything") + (f"/{self.question_type}" if self.question_type != ALL else "")
        return f"{what} {self.language}" if self.language != "-" else what


def score(records: Sequence[Record], protocol: Protocol, options: MetricOptions = DEFAULTS) -> list[Score]:
    """All scores of a protocol over records; reasoning, and forms that it has no rule for, are left out.

    Raises:
        UserError: a metric does not fit the records, or misses something it needs.
    """
    records = [record.without_reasoning() for record in records]
    forms: dict[tuple[Form, str], list[int]] = {}
    for place, record in enumerate(records):
        forms.setdefault((record.form, record.language or "-"), []).append(place)
    scores: list[Score] = []
    for (form, language), places in sorted(forms.items()):
        scorer = protocol.scorers.get(form)
        if scorer is None:
            continue
        whole = _scored(records, places, protocol.name, form, ALL, language, scorer, options)
        scores += whole
        question_types = sorted({records[place].question_type for place in places})
        for question_type in question_types if len(question_types) > 1 else ():
            members = [place for place in places if records[place].question_type == question_type]
            scores += _scored(
                records, members, protocol.name, form, question_type, language, scorer, options
            )[:1]
        for category in sorted({name for place in places for name in records[place].categories}):
            scores += [_of_category(score, records, category) for score in whole[:1]]
    if protocol.pooled is not None and len(forms) > 1:
        everything = range(len(records))
        scores += _scored(records, everything, protocol.name, None, ALL, "-", protocol.pooled, options)
    return scores


def _of_category(score: Score, records: Sequence[Record], category: str) -> Score:
    """The same number of the records of one category."""
    measure = score.measure
    inside = [row for row, place in enumerate(score.places) if category in records[place].categories]
    total = sum(category in record.categories for record in records if record.form == score.form)
    kept = Tally(measure.tally.rows[inside], measure.tally.value)
    part = replace(measure, tally=kept, scored=tuple(range(len(inside))), total=max(total, len(inside)))
    return replace(
        score, question_type=category, measure=part, places=tuple(score.places[row] for row in inside)
    )


def unscored(records: Sequence[Record], protocol: Protocol) -> dict[Form, int]:
    """How many records of each form the protocol has no rule for."""
    counts: dict[Form, int] = {}
    for record in records:
        if record.form not in protocol.scorers:
            counts[record.form] = counts.get(record.form, 0) + 1
    return counts


def _scored(
    records: Sequence[Record],
    places: Sequence[int],
    protocol: str,
    form: Form | None,
    question_type: str,
    language: str,
    scorer: Scorer,
    options: MetricOptions,
) -> list[Score]:
    measures = scorer([records[place] for place in places], options)
    return [
        Score(
            protocol, form, question_type, language, measure, tuple(places[place] for place in measure.scored)
        )
        for measure in measures
    ]

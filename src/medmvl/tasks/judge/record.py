"""`read_record`: the reader's verdict on a record of any form."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medmvl.tasks.answers import visible_answer
from medmvl.tasks.judge.reader import Reading, read_answer
from medmvl.tasks.judge.strict import judge_record

if TYPE_CHECKING:
    from medmvl.tasks.metrics.record import Record


def read_record(record: Record) -> Reading:
    """Judge a record as a careful reader: by the choice that its answer names where there are choices, else by its claims.

    Several references are alternatives: the best verdict counts.
    """
    if record.choices or record.form == "choice":
        return _settled(record)
    readings = [read_answer(record.question, record.answer, reference) for reference in record.references]
    return max(readings, key=lambda reading: reading.score)


def _settled(record: Record) -> Reading:
    """The verdict by the choice that `strict` finds; where it finds none among plain options, the claims decide if clear."""
    found = judge_record(record)
    said = (
        found.parsed if found.parsed is not None else visible_answer(record.answer) if found.exact else None
    )
    if said is None and record.form != "choice":
        read = max(
            (read_answer(record.question, record.answer, text) for text in record.references), key=_score
        )
        if read.verdict != "partly":
            return read
    why = f"choice: {said}" if said is not None else "no one choice"
    if found.score == 1:
        return Reading("right", 1.0, why)
    return Reading("wrong", 0.0, f"{why} against {record.references[0]}")


def _score(reading: Reading) -> float:
    return reading.score

"""Judging one answer: closed questions by the choice it names, open ones and reports by token F1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from medmvl.schema import Sample, Target
from medmvl.tasks.metrics import exact_match, find_choice, normalise, token_f1

if TYPE_CHECKING:
    from medmvl.tasks.metrics.record import Record

LETTERS = ("A", "B", "C", "D", "E", "F", "G", "H")
Metric = Literal["accuracy", "token_f1"]

YES_NO = (("yes", "no"), ("是", "否"), ("有", "没有"))
"""Pairs that close a question whose data names no choices but whose true answer is one of them."""


@dataclass(frozen=True)
class Judgement:
    """What an answer is worth."""

    metric: Metric
    score: float
    """0 to 1: right or wrong for `accuracy`, overlap for `token_f1`."""
    parsed: str | None
    """The choice the answer named; None where it named none or several, which is wrong."""
    exact: bool
    """Whether the whole answer equals a reference after normalisation."""


def judge(text: str, target: Target) -> Judgement:
    """Judge the answer `text` by the truth. An empty answer is wrong, never left out."""
    exact = exact_match(text, target.answers)
    if not target.choices:
        return Judgement("token_f1", token_f1(text, target.answers), None, exact)
    parsed = find_choice(text, target.choices)
    accepted = {normalise(answer) for answer in target.answers}
    right = exact or (parsed is not None and normalise(parsed) in accepted)
    return Judgement("accuracy", float(right), parsed, exact)


def judge_record(record: Record) -> Judgement:
    """Judge by the truth of a record; a multiple choice may be answered with its letter or with its option.

    A closed question whose choices are unknown is right only where the whole answer is.
    """
    judgement = judge(record.answer, record.target)
    if not record.choices and record.form in ("closed", "choice", "class"):
        judgement = Judgement("accuracy", float(judgement.exact), None, judgement.exact)
    if record.form != "choice" or judgement.score == 1 or judgement.parsed is not None:
        return judgement
    if all(len(choice) == 1 for choice in record.choices):
        said = find_choice(record.answer, record.options)  # letters were asked for, an option was named
        wanted = {normalise(reference) for reference in record.references}
        right = said is not None and (
            normalise(said) in wanted or record.options.index(said) == ord(record.letter or "?") - ord("A")
        )
        return Judgement("accuracy", float(right), said, judgement.exact)
    said = find_choice(record.answer, LETTERS[: len(record.choices)])  # options are known, a letter was named
    return Judgement("accuracy", float(said is not None and said == record.letter), said, judgement.exact)


def target_of(sample: Sample) -> Target | None:
    """The truth of a sample: its target or, where it has none, the text of its last assistant turn.

    Data sets of plain conversations become judgeable this way: a yes or no answer makes the question closed.
    """
    if sample.target is not None:
        return sample.target
    if sample.messages[-1].role != "assistant" or not sample.messages[-1].text.strip():
        return None
    answer = sample.messages[-1].text.strip()
    for pair in YES_NO:
        if normalise(answer) in {normalise(choice) for choice in pair}:
            return Target(kind=sample.task or "closed", answers=(answer,), choices=pair)
    return Target(kind=sample.task or "open", answers=(answer,))

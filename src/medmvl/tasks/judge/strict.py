"""Judging one answer to the letter: closed questions by the choice it settles on, open ones and reports by token F1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from medmvl.schema import Sample, Target
from medmvl.tasks.answers import choose, find_choice, visible_answer, word_polarity, yes_no_choices
from medmvl.tasks.answers.choices import marks_of, without_letter
from medmvl.tasks.metrics import exact_match, normalise, token_f1

if TYPE_CHECKING:
    from medmvl.tasks.metrics.record import Record

Metric = Literal["accuracy", "token_f1"]


@dataclass(frozen=True)
class Judgement:
    """The score of an answer, and how it was read."""

    metric: Metric
    score: float
    """0 to 1: right or wrong for `accuracy`, overlap for `token_f1`."""
    parsed: str | None
    """The choice the answer named; None where it named none or several, which is wrong."""
    exact: bool
    """True where the whole answer, without its thoughts, equals a reference after normalisation."""


def judge(text: str, target: Target, question: str = "") -> Judgement:
    """Judge the answer `text` to a question by the truth. An empty answer is wrong, never left out."""
    said = visible_answer(text)
    exact = exact_match(said, target.answers)
    if not target.choices:
        return Judgement("token_f1", token_f1(said, target.answers), None, exact)
    parsed = find_choice(text, target.choices, question)
    right = exact or (parsed is not None and any(_same(parsed, answer) for answer in _accepted(target)))
    return Judgement("accuracy", float(right), parsed, exact)


def _accepted(target: Target) -> tuple[str, ...]:
    """The accepted answers, and the choices that those name which are no choice but the letter of one."""
    by_letter = dict(zip(marks_of(target.choices), target.choices, strict=False))
    choices = {normalise(choice) for choice in target.choices}
    named = [normalise(answer).upper() for answer in target.answers if normalise(answer) not in choices]
    return (*target.answers, *(by_letter[letter] for letter in named if letter in by_letter))


def _same(choice: str, answer: str) -> bool:
    """Whether a choice is an accepted answer: the same text, or another wording of the same yes or no."""
    if normalise(choice) == normalise(answer) or normalise(without_letter(choice)) == normalise(
        without_letter(answer)
    ):
        return True
    said = word_polarity(choice)
    return said is not None and said == word_polarity(answer)


def judge_record(record: Record) -> Judgement:
    """Judge by the truth of a record; a multiple choice may be answered with its letter or with its option.

    A closed question whose choices are unknown is right only where the whole answer is.
    """
    if record.form == "choice" and record.letter is not None:
        return _judge_choice(record, record.letter)
    judgement = judge(record.answer, record.target, record.question)
    if not record.choices and record.form in ("closed", "choice", "class"):
        judgement = Judgement("accuracy", float(judgement.exact), None, judgement.exact)
    return judgement


def _judge_choice(record: Record, letter: str) -> Judgement:
    """Judge a multiple choice by the option or letter that the answer names; an answer equal to a reference is right, too."""
    said = visible_answer(record.answer)
    exact = exact_match(said, record.references)
    options = record.options or record.choices
    place = choose(record.answer, options, letters=True, question=record.question)
    parsed = None if place is None else options[place]
    return Judgement(
        "accuracy", float(exact or (place is not None and place == record.place_of(letter))), parsed, exact
    )


def target_of(sample: Sample) -> Target | None:
    """The truth of a sample: its target or, where it has none, its solution or the text of its last assistant turn.

    Data sets of plain conversations become judgeable this way: a yes or no answer makes the question closed.
    """
    if sample.target is not None:
        return sample.target
    last = sample.messages[-1]
    answer = (sample.solution or (last.text if last.role == "assistant" else "")).strip()
    if not answer:
        return None
    asked = next((message.text for message in reversed(sample.messages) if message.role == "user"), "")
    pair = yes_no_choices(answer, asked)
    if pair:
        return Target(question_type=sample.task or "closed", answers=(answer,), choices=pair)
    return Target(question_type=sample.task or "open", answers=(answer,))

"""Samples of one question and one answer, as most public data sets have them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from medmvl.schema import ImageBlock, Message, Sample, Target, TextBlock, VolumeBlock
from medmvl.tasks.answers import yes_no_choices

Visual = ImageBlock | VolumeBlock
LETTERS = "ABCDEFGH"
_LABEL = re.compile(r"^\s*\(?[A-Ha-h]\s*[:.)]\s*")


def question(
    id: str,
    visuals: Sequence[Visual],
    text: str,
    answer: str,
    *,
    kind: str,
    choices: Sequence[str] = (),
    more_answers: Sequence[str] = (),
    language: Literal["en", "zh"] = "en",
    **identity: Any,
) -> Sample:
    """One turn: the pictures, the question, the answer.

    Args:
        id: differs from all others of the data set.
        visuals: images or volumes, before the text.
        text: the question.
        answer: what the model learns to say, and the reference.
        kind: kind of question.
        choices: the closed set of answers.
        more_answers: accepted as well.
        language: of the question.
        identity: other fields of `Sample`, such as patient, task and labels.
    """
    return Sample(
        id=id,
        messages=(
            Message(role="user", content=(*visuals, TextBlock(text=text))),
            Message(role="assistant", content=(TextBlock(text=answer),)),
        ),
        language=language,
        target=Target(kind=kind, answers=(answer, *more_answers), choices=tuple(choices)),
        **identity,
    )


def yes_no(answer: str, question: str = "") -> tuple[str, ...]:
    """The pair of choices that an answer is one of, or nothing."""
    return yes_no_choices(answer, question)


def option_text(text: str) -> str:
    """An option without the letter some tables write before it (`" A:Axial "`)."""
    return _LABEL.sub("", text).strip()


def options_of(record: Mapping[str, Any], pattern: str) -> list[str]:
    """The options of a row whose columns are named by `pattern`, such as `"Choice {}"`; empty ones are left out."""
    found = (str(record.get(pattern.format(letter)) or "").strip() for letter in LETTERS)
    return [option_text(text) for text in found if text not in ("", "-")]


def lettered(options: Sequence[str]) -> str:
    """Options a line each: `A. axial`."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))

"""Samples of one question and one answer, as most public data sets have them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from medmvl.errors import UserError
from medmvl.json_types import JsonMapping
from medmvl.schema import ImageBlock, Message, Sample, Target, TextBlock, VolumeBlock

Visual = ImageBlock | VolumeBlock
LETTERS = "ABCDEFGH"
_LABEL = re.compile(r"^\s*\(?[A-Ha-h]\s*[:.)]\s*")


def question(
    id: str,
    visuals: Sequence[Visual],
    text: str,
    answer: str,
    *,
    question_type: str,
    choices: Sequence[str] = (),
    more_answers: Sequence[str] = (),
    categories: Sequence[str] = (),
    language: Literal["en", "zh"] = "en",
    **identity: Any,
) -> Sample:
    """One turn: the images, the question, the answer.

    Args:
        id: differs from all others of the data set.
        visuals: images or volumes, before the text.
        text: the question.
        answer: what the model learns to say, and the reference.
        question_type: type of question.
        choices: the closed set of answers.
        more_answers: accepted as well.
        categories: what it is about, by the data set's own names.
        language: language of the question.
        identity: other fields of `Sample`, such as patient, task and labels.
    """
    return Sample(
        id=id,
        messages=(
            Message(role="user", content=(*visuals, TextBlock(text=text))),
            Message(role="assistant", content=(TextBlock(text=answer),)),
        ),
        language=language,
        target=Target(
            question_type=question_type,
            answers=(answer, *more_answers),
            choices=tuple(choices),
            categories=tuple(categories) or None,
        ),
        **identity,
    )


def choice_question(
    id: str,
    visuals: Sequence[Visual],
    text: str,
    options: Sequence[str],
    letter: str,
    *,
    question_type: str = "choice",
    **identity: Any,
) -> Sample:
    """One turn of multiple choice: the options are below the question, and the answer is a letter.

    Args:
        id: differs from all others of the data set.
        visuals: images or volumes, before the text.
        text: the question without its options.
        options: in the order of their letters.
        letter: the right one; its option is accepted as well.
        question_type: type of question; begins with `choice`.
        identity: other arguments of `question`, such as categories, patient and task.

    Raises:
        UserError: the letter is none of the options'.
    """
    letters, right = LETTERS[: len(options)], letter.strip().upper()
    if len(right) != 1 or right not in letters:
        raise UserError(f"the answer {letter!r} is none of the letters of its {len(options)} options")
    return question(
        id,
        visuals,
        f"{text}\n{lettered(options)}",
        right,
        question_type=question_type,
        choices=tuple(letters),
        more_answers=(options[letters.index(right)],),
        **identity,
    )


def options_by_letter(options: object) -> list[str]:
    """The options of a mapping from letters to texts, in order.

    Raises:
        UserError: where it is no such mapping, or a letter between is missing.
    """
    if not isinstance(options, Mapping):
        raise UserError(f"expected options as letters with texts, found {type(options).__name__}")
    texts = {str(letter).strip().upper(): str(text).strip() for letter, text in options.items() if text}
    if len(texts) < 2 or "".join(sorted(texts)) != LETTERS[: len(texts)]:
        raise UserError(f"expected options A, B and so on, found {', '.join(texts) or 'none'}")
    return [texts[letter] for letter in sorted(texts)]


def option_text(text: str) -> str:
    """An option without the letter some tables write before it (`" A:Axial "`)."""
    return _LABEL.sub("", text).strip()


def options_of(record: JsonMapping, pattern: str) -> list[str]:
    """The options of a row whose columns are named by `pattern`, such as `"Choice {}"`; empty ones are left out."""
    found = (str(record.get(pattern.format(letter)) or "").strip() for letter in LETTERS)
    return [option_text(text) for text in found if text not in ("", "-")]


def lettered(options: Sequence[str]) -> str:
    """Options, one per line: `A. axial`."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))

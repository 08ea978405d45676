"""Record: one answer next to its truth, from any model; every metric and protocol works on records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from medmvl.schema import Target
from medmvl.schema.reasoning import without_reasoning
from medmvl.tasks.answers.choices import letters_of, marks_of, without_letter
from medmvl.tasks.answers.final import visible_answer
from medmvl.tasks.metrics.text import normalise

Form = Literal["closed", "choice", "class", "open", "report", "refer", "identify"]

_OPTION = re.compile(r"(?:^|(?<=\s))\(?([A-Z])[.:)]\s*(.+?)(?=\s+\(?[A-Z][.:)]\s|\s*$)", re.DOTALL)
_LETTER = re.compile(r"^[(\[]?([A-Za-z])[)\]]?(?:[.:、：]|\s*$|[)\]]\s)")


@dataclass(frozen=True)
class Record:
    """An answer, its accepted references, and the patient it is about."""

    id: str
    text: str | None
    """The answer; None where the model gave none at all, which `strict` counts as an empty one."""
    references: tuple[str, ...]
    """Accepted answers, the first is the reference."""
    question: str = ""
    question_type: str = "open"
    choices: tuple[str, ...] = ()
    """The closed set of answers: letters, or the options themselves."""
    language: str | None = None
    patient: str | None = None
    study: str | None = None
    image_group: str | None = None
    categories: tuple[str, ...] = ()
    """Topics of the question, by the data set's own names; a record may belong to several."""
    labels: Mapping[str, float] = field(default_factory=dict)
    """True findings: 1 present, 0 absent, no entry unknown."""
    box: tuple[float, ...] | None = None
    """The true box in pixels, `(x0, y0, x1, y1)`."""
    image_size: tuple[float, float] | None = None
    """`(width, height)` of the image the box lies in."""
    confidence: float | None = None
    """The model's probability that its answer is right."""

    @property
    def answer(self) -> str:
        """The text, empty where there is none."""
        return self.text or ""

    def without_reasoning(self) -> Record:
        """The record without blocks of reasoning in its text, otherwise as the model wrote it."""
        if self.text is None or (answer := without_reasoning(self.text)) == self.text:
            return self
        return replace(self, text=answer.strip())

    def without_thoughts(self) -> Record:
        """The record with the visible part of its answer: no reasoning, the tagged or boxed part where there is one."""
        return self if self.text is None else replace(self, text=visible_answer(self.text))

    @property
    def target(self) -> Target:
        """The truth as `judge` takes it."""
        return Target(question_type=self.question_type, answers=self.references, choices=self.choices)

    @property
    def form(self) -> Form:
        """Which family of metrics fits."""
        if self.question_type in ("refer", "identify"):
            return "refer" if self.question_type == "refer" else "identify"
        if self.question_type.startswith("class"):
            return "class"
        if self.question_type in ("report", "caption") or self.question_type.endswith("_report"):
            return "report"
        if (
            self.question_type.startswith("choice")
            or self.question_type.endswith("choice")
            or self._has_letters
        ):
            return "choice"
        return "closed" if self.choices or self.question_type == "closed" else "open"

    @property
    def letter(self) -> str | None:
        """The right letter of a multiple choice, as a capital, or None where it is unknown."""
        wanted = {normalise(reference) for reference in self.references}
        bare = {normalise(without_letter(reference)) for reference in self.references}
        for letter, option in zip(self.letters, self.options, strict=False):
            if normalise(option) in wanted or normalise(without_letter(option)) in bare:
                return letter
        for reference in self.references:
            match = _LETTER.match(reference.strip())
            if match and (match[1].upper() in self.letters or not self.letters):
                return match[1].upper()
        return None

    @property
    def letters(self) -> list[str]:
        """The letters of the options in their order, as capitals: those they are or carry, else A, B, C ..."""
        return letters_of(self.choices) or marks_of(self.options)

    def place_of(self, letter: str) -> int:
        """Index of the option that has a letter; -1 where none has."""
        return self.letters.index(letter) if letter in self.letters else -1

    @property
    def options(self) -> tuple[str, ...]:
        """The options as texts: the choices, or those the question lists after letters."""
        if self.choices and not self._has_letters:
            return self.choices
        found = [(letter, text.strip()) for letter, text in _OPTION.findall(self.question)]
        in_order = [letter for letter, _ in found] == [choice.strip().upper() for choice in self.choices][
            : len(found)
        ]
        return tuple(text for _, text in found) if in_order and len(found) == len(self.choices) else ()

    @property
    def _has_letters(self) -> bool:
        return len(self.choices) > 1 and all(
            len(choice.strip()) == 1 and choice.strip().isalpha() and choice.isascii()
            for choice in self.choices
        )

"""Reward: what an answer earns, a number from 0 to 1, with a docstring that says what it can be fooled by."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import replace
from typing import ClassVar, Literal

from medmvl.errors import UserError
from medmvl.schema.strict import StrictModel
from medmvl.tasks.metrics.record import Record

Role = Literal["content", "form"]


class Reward(StrictModel):
    """A named function of an answer and its truth; its fields are the options that a recipe may set.

    `content` rewards say how far the answer is right. `form` rewards look at its shape alone, so any wrong answer can
    have them: they multiply what the content earns and never pay by themselves (`medmvl.rewards.combined`).
    """

    role: ClassVar[Role] = "content"
    reads_thoughts: ClassVar[bool] = False
    """True where it sees the whole text; all others see the answer without its reasoning."""

    def missing(self, record: Record) -> str | None:
        """What the record lacks for this reward, such as `labels`; None where it can be scored."""
        return None

    @abstractmethod
    def score(self, record: Record) -> float:
        """What the record's answer earns, from 0 to 1; the record lacks nothing."""

    def of(self, answer: str, reference: str, question: str = "") -> float:
        """The same for plain texts."""
        return checked_score(self, Record("answer", answer, (reference,), question))


def checked_score(reward: Reward, record: Record) -> float:
    """The score of a record, without its reasoning where the reward does not read that.

    Rewards of content do not see the question where the answer repeats it: an echo is no answer.

    Raises:
        UserError: the reward gave no number from 0 to 1; it names reward and record.
    """
    seen = record if reward.reads_thoughts else record.without_thoughts()
    value = reward.score(seen if reward.role == "form" else _without_question(seen))
    if not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value <= 1:
        raise UserError(
            f"reward {type(reward).__name__} gave {value!r} for sample {record.id!r}; expected a number from 0 to 1"
        )
    return float(value)


def _without_question(record: Record) -> Record:
    asked = record.question.strip()
    place = record.answer.casefold().find(asked.casefold()) if asked else -1
    if place < 0 or len(record.answer.casefold()) != len(record.answer):
        return record
    rest = f"{record.answer[:place]} {record.answer[place + len(asked) :]}"
    return replace(record, text=rest.strip())

"""All rewards of a stage together: what the content earns, times what its form leaves of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medmvl.errors import UserError
from medmvl.rewards.registry import RewardRecipe
from medmvl.rewards.reward import Reward, checked_score
from medmvl.tasks.metrics.record import Record


@dataclass(frozen=True)
class Entry:
    """A reward with what a recipe says about it."""

    name: str
    reward: Reward
    weight: float
    question_types: frozenset[str]

    def concerns(self, record: Record) -> bool:
        """Whether it is paid for this type of question."""
        return not self.question_types or record.question_type in self.question_types


@dataclass(frozen=True)
class Earned:
    """What one answer earns."""

    total: float
    """0 to 1."""
    parts: dict[str, float]
    """Score by the reward's name, of those that concern the question."""


def rewards_together(recipes: Sequence[RewardRecipe]) -> CombinedReward:
    """What answers earn in a stage; the verdict of the task's judge where it names no reward.

    Raises:
        UserError: an unknown reward or option, or rewards that cannot go together.
    """
    return CombinedReward(recipes or (RewardRecipe(name="judge"),))


class CombinedReward:
    """`total = mean of the content rewards, by weight, times (1 - weight * (1 - score)) of each reward of form`.

    Form alone so never pays: a wrong answer in the right shape earns nothing.
    """

    def __init__(self, recipes: Sequence[RewardRecipe]) -> None:
        """Build the rewards.

        Raises:
            UserError: an unknown reward or option, two of one name, a form's weight above 1, or no reward of content.
        """
        self.entries = [
            Entry(one.name, one.build(), one.weight, frozenset(one.question_types)) for one in recipes
        ]
        repeated = [
            name for name, count in Counter(entry.name for entry in self.entries).items() if count > 1
        ]
        if repeated:
            raise UserError(f"reward '{repeated[0]}' is named twice; give it one entry")
        heavy = [entry for entry in self.entries if entry.reward.role == "form" and entry.weight > 1]
        if heavy:
            raise UserError(
                f"reward '{heavy[0].name}' has the weight {heavy[0].weight:g}; it is one of form, whose weight is the share of "
                "the reward that hangs on it, at most 1"
            )
        if not any(entry.reward.role == "content" for entry in self.entries):
            raise UserError(
                "no reward of content: length, language, sections and format alone pay any wrong answer; add one such as "
                "judge, closed_accuracy or findings_f1"
            )

    @property
    def by_name(self) -> dict[str, Reward]:
        """The rewards alone."""
        return {entry.name: entry.reward for entry in self.entries}

    def check(self, records: Iterable[Record]) -> None:
        """Look whether every record has what its rewards need, before the first step.

        Raises:
            UserError: naming the first record and what it lacks.
        """
        for record in records:
            concerned = [entry for entry in self.entries if entry.concerns(record)]
            for entry in concerned:
                lacking = entry.reward.missing(record)
                if lacking is not None:
                    raise UserError(
                        f"reward '{entry.name}' needs {lacking}, which sample {record.id!r} (question type "
                        f"'{record.question_type}') does not have; name the types it is for in its question_types"
                    )
            if not any(entry.reward.role == "content" for entry in concerned):
                raise UserError(
                    f"sample {record.id!r} has the question type '{record.question_type}', which no reward of content is "
                    "paid for; add it to some reward's question_types, or leave it out of the data"
                )

    def score(self, record: Record) -> Earned:
        """What the record's answer earns.

        Raises:
            UserError: a reward gave no number from 0 to 1.
        """
        concerned = [entry for entry in self.entries if entry.concerns(record)]
        parts = {entry.name: checked_score(entry.reward, record) for entry in concerned}
        content = [entry for entry in concerned if entry.reward.role == "content"]
        total = sum(entry.weight * parts[entry.name] for entry in content) / sum(
            entry.weight for entry in content
        )
        for entry in concerned:
            if entry.reward.role == "form":
                total *= 1 - entry.weight * (1 - parts[entry.name])
        return Earned(total, parts)

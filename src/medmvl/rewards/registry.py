"""The rewards by name, and the entry of a recipe that chooses one."""

from __future__ import annotations

from typing import Any

from pydantic import Field, PositiveFloat, ValidationError

from medmvl.errors import UserError
from medmvl.json_types import JsonObject
from medmvl.messages import did_you_mean
from medmvl.plugins import find_plugin, installed, known_names
from medmvl.rewards.content import BoxIoU, Choice, ClosedAccuracy, TaskJudge, TokenF1
from medmvl.rewards.findings import FindingsF1
from medmvl.rewards.form import Format, LengthBand, SameLanguage, SectionStructure
from medmvl.rewards.reward import Reward
from medmvl.schema.jsonl import describe_validation_error
from medmvl.schema.strict import StrictModel

GROUP = "medmvl.rewards"
REWARDS: dict[str, type[Reward]] = {
    "judge": TaskJudge,
    "closed_accuracy": ClosedAccuracy,
    "choice": Choice,
    "findings_f1": FindingsF1,
    "token_f1": TokenF1,
    "box_iou": BoxIoU,
    "section_structure": SectionStructure,
    "length_band": LengthBand,
    "same_language": SameLanguage,
    "format": Format,
}


class RewardRecipe(StrictModel):
    """One reward of a stage: its name, its weight, what it is paid for, and its own options."""

    name: str
    """Name of a built-in reward, `medmvl rewards list` shows them, or of a plug-in's."""
    weight: PositiveFloat = 1.0
    """Weight among the rewards of content; for a reward of form the share, 0 to 1, of the content's reward that depends on
    it."""
    question_types: tuple[str, ...] = ()
    """Types of question that it is paid for; empty: all."""
    options: JsonObject = Field(default_factory=dict)
    """Options of the reward itself, such as `labeler: phantoms`."""

    def build(self) -> Reward:
        """The reward.

        Raises:
            UserError: name or options are unknown.
        """
        return build_reward(self.name, **self.options)


def find_reward(name: str) -> type[Reward]:
    """The class of a reward, built in or of a plug-in.

    Raises:
        UserError: there is none of that name, or a plug-in's is no reward.
    """
    plugin = find_plugin(GROUP, name, REWARDS)
    if plugin is not None:
        found = plugin.load()
        if not (isinstance(found, type) and issubclass(found, Reward)):
            raise UserError(
                f"{plugin.source} offers {name!r} ({GROUP}), which is no class of medmvl.rewards.Reward"
            )
        return found
    if name not in REWARDS:
        near = did_you_mean(name, [*REWARDS, *installed(GROUP)], 2)
        raise UserError(f"no reward '{name}'{near} Known rewards: {known_names(GROUP, REWARDS)}")
    return REWARDS[name]


def build_reward(name: str, **options: Any) -> Reward:
    """A reward with its options.

    Raises:
        UserError: name or options are unknown.
    """
    try:
        return find_reward(name).model_validate(options)
    except ValidationError as error:
        raise UserError(f"reward '{name}': {describe_validation_error(error)}") from None

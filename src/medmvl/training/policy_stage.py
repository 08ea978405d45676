"""What a `grpo` stage is checked for before anything trains, and what its trainer is given."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import psutil
import torch

from medmvl.engine.sequence_decoder import SequenceDecoder
from medmvl.errors import UserError
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.rewards.combined import CombinedReward, rewards_together
from medmvl.rewards.payoffs import AttackPayoffs
from medmvl.schema import Message
from medmvl.tasks.metrics.record import Record
from medmvl.training.policy import FirstWeights
from medmvl.training.policy_data import PromptDataset
from medmvl.training.policy_recipe import GroupPolicy
from medmvl.training.policy_trainer import PolicyTrainer
from medmvl.training.recipe import Stage
from medmvl.training.rollouts import Rollouts, check_rewards
from medmvl.training.trainer import changing_state

if TYPE_CHECKING:
    from medmvl.models.processing import MedMVLProcessor
    from medmvl.training.stage_plan import StagePlan

logger = logging.getLogger(__name__)
VIEWED = 2000
"""Records of the training data that the attacks know."""
CACHE_BYTES = 1 << 30
"""Limit of the visual tokens and beginnings of one batch of prompts."""


def check_policy(
    stage: Stage,
    model: MedMVLForConditionalGeneration,
    processor: MedMVLProcessor,
    train: PromptDataset,
    validation: PromptDataset | None,
) -> CombinedReward:
    """What answers earn in a stage, once it was looked whether it can learn from that, before anything is drawn.

    Raises:
        UserError: an unknown reward or option, or rewards that cannot go together; a prompt that has no room for an answer; a
            reward that the data have no truth for or that gives no number from 0 to 1; a reference that does not fit in
            memory.
    """
    settings, reward = stage.policy, rewards_together(stage.rewards)
    for dataset in (train, validation):
        if dataset is not None:
            _check_room(stage.name, settings, model, processor, dataset)
            check_rewards(reward, _records(dataset, len(dataset.prompt_rows)))
    if settings.kl:
        _check_memory(stage.name, model)
    return reward


def _check_room(
    name: str,
    settings: GroupPolicy,
    model: MedMVLForConditionalGeneration,
    processor: MedMVLProcessor,
    dataset: PromptDataset,
) -> None:
    """Every prompt and its longest answer fit into what the LLM reads, and into the recipe's own limit."""
    lengths = dataset.samples.lengths
    longest = max(dataset.prompt_rows, key=lengths.__getitem__)
    sample = dataset.samples.sample(longest)
    cue = _cue_length(processor, sample.messages)
    count = lengths[longest] + cue + settings.max_new_tokens
    limits = {"model.max_length": processor.max_length}
    if (positions := getattr(model.config.llm, "max_position_embeddings", None)) is not None:
        limits["the LLM's context"] = int(positions)
    for what, limit in limits.items():
        if count > limit:
            raise UserError(
                f"stage '{name}': sample '{sample.id}' has {lengths[longest] + cue} tokens, and an answer of up to "
                f"{settings.max_new_tokens} makes {count}, more than {what} of {limit}; lower grpo.max_new_tokens to "
                f"{max(0, limit - lengths[longest] - cue)}, use fewer visual tokens"
                + (", or raise model.max_length" if what == "model.max_length" else "")
            )


def _cue_length(processor: MedMVLProcessor, messages: Sequence[Message]) -> int:
    """Tokens of the LLM's cue to answer."""
    thinking = processor.thinks(messages)
    turns = processor.turns(messages, "a prompt", thinking=thinking)
    lengths = [
        len(processor.chat.encode(turns, add_generation_prompt=cue, name="a prompt", thinking=thinking).ids)
        for cue in (True, False)
    ]
    return max(0, lengths[0] - lengths[1])


def _check_memory(name: str, model: MedMVLForConditionalGeneration) -> None:
    """The weights that train fit into memory once more, next to their gradients and moments."""
    trained = sum(weight.nbytes for weight in model.parameters() if weight.requires_grad)
    free, where, needed = psutil.virtual_memory().available, "memory", 4 * trained
    if torch.cuda.is_available():
        free, where = torch.cuda.mem_get_info()[0], "the GPU's memory"
        needed += sum(weight.nbytes for weight in model.parameters())
    if needed > free:
        raise UserError(
            f"stage '{name}': the reference of grpo.kl holds the {trained / 2**30:.3g} GiB that train once more; "
            f"with gradients and moments that makes {needed / 2**30:.3g} GiB, and {where} has {free / 2**30:.3g} GiB "
            "left; set grpo.kl to 0, or tune the part by lora"
        )


def _records(dataset: PromptDataset, count: int) -> list[Record]:
    """`count` records of prompts, spread evenly over the data set."""
    rows = dataset.prompt_rows
    return [dataset.record(row) for row in rows[:: max(1, len(rows) // count)]]


def learn_from_rollouts(trainer: PolicyTrainer, plan: StagePlan) -> None:
    """Give a trainer its engine, rewards, attacks and reference, before a checkpoint is loaded."""
    model, train, reward, settings = plan.model, plan.train, plan.reward, plan.stage.policy
    assert isinstance(train, PromptDataset) and reward is not None
    saved = model.generation_config
    engine = SequenceDecoder(model, plan.processor, CACHE_BYTES)
    model.generation_config = saved  # the engine's own has nothing to do with what is saved
    rollouts = Rollouts(engine, train, reward, settings, plan.recipe.seed, trainer.accelerator.autocast)
    attacks = AttackPayoffs(_records(train, VIEWED), reward)
    first = (
        FirstWeights(changing_state(trainer.accelerator.unwrap_model(trainer.model))) if settings.kl else None
    )
    trainer.learn_from(rollouts, attacks, first)

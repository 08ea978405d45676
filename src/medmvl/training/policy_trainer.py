"""The Trainer of the `grpo` objective: before a step it draws answers, after it the same as any other stage."""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import TrainOutput

from medmvl.atomic_files import write_json
from medmvl.json_types import JsonObject
from medmvl.models.collation import Batch
from medmvl.rewards.payoffs import AttackPayoffs, Scores, mean_payoffs
from medmvl.training.policy import (
    WATCHED,
    FirstWeights,
    GroupRelativePolicy,
    group_advantages,
    loss_items,
    token_weights,
)
from medmvl.training.policy_data import AnsweredPrompt, PromptItem, PromptOrder, answer_batch
from medmvl.training.rollouts import Group, Rollouts, SampledAnswer
from medmvl.training.trainer import Loss, StageTrainer, Trial, changing_state

logger = logging.getLogger(__name__)
WATCHED_FILE = "watched.json"
ATTACKED = 2
"""Prompts of a batch on which attacks are tried."""
AGREEMENT = 1e-4
"""Difference between the log-probabilities of engine and training pass above which a warning is given."""


class PolicyTrainer(StageTrainer):
    """Trains on answers that the model itself gives.

    A batch of answers is drawn once and used for `updates` steps; checkpoints fall between batches, so none has to be kept.
    """

    rollouts: Rollouts
    first_weights: FirstWeights | None = None
    attacks: AttackPayoffs | None = None
    order: PromptOrder

    def learn_from(
        self, rollouts: Rollouts, attacks: AttackPayoffs | None, first_weights: FirstWeights | None
    ) -> None:
        """Say where answers come from; before `train`."""
        self.rollouts, self.attacks, self.first_weights = rollouts, attacks, first_weights
        self.settings = rollouts.settings
        self.watched = Watched(rollouts)
        self.add_callback(_BetweenBatches(self.settings.updates))
        self._batches: list[Batch] = []
        self._items: Tensor | None = None
        self._passed = 0
        self._reported = AGREEMENT

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor | None]:
        """The micro batches of a step, with answers drawn now or in the step before, and what their loss is divided by."""
        given = [batch["prompts"] for batch in islice(epoch_iterator, num_batches)]
        if self.state.global_step % self.settings.updates == 0:
            self._draw(given, self.state.global_step // self.settings.updates, device)
        self._passed = 0
        return [
            {name: batch[name] for name in batch if name != "engine"} for batch in self._batches
        ], self._items

    def _draw(self, given: Sequence[Sequence[PromptItem]], number: int, device: torch.device) -> None:
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        micro = len(given[0])
        places = [
            (batch * world + rank) * micro + place
            for batch, items in enumerate(given)
            for place in range(len(items))
        ]
        model = self.accelerator.unwrap_model(self.model).model
        model.eval()
        flat = [item for items in given for item in items]
        groups = self._groups(flat, places, number)
        model.train()
        taught = [self._taught(groups[start : start + micro]) for start in range(0, len(groups), micro)]
        everywhere = self._everywhere(groups, places)
        lengths = [length for one in everywhere for length in one["lengths"]]
        counted = [not masked for one in everywhere for masked in one["masked"]]
        self._items = torch.tensor(
            loss_items(lengths, counted, self.settings), dtype=torch.float32, device=device
        )
        self.watched.rollouts(everywhere)
        self._batches = [self._batch(part) for part in taught]
        if self.first_weights is not None:
            self._add_reference()

    def _groups(self, items: Sequence[PromptItem], places: Sequence[int], number: int) -> list[Group]:
        """The items of a batch with answers that are drawn now; those that are replayed have none."""
        asked = [index for index, item in enumerate(items) if item.record is not None]
        drawn = self.rollouts.draw(
            [items[index] for index in asked], [places[index] for index in asked], number,
            self.order.prompts_of(number),
        )  # fmt: skip
        groups = [Group(item, ()) for item in items]
        for index, group in zip(asked, drawn, strict=True):
            groups[index] = group
        return groups

    def _taught(self, groups: Sequence[Group]) -> Sequence[Group]:
        """The groups of a micro batch that the training pass sees: without spread there is no gradient but that of a KL term.

        The shortest stays, and counts for nothing, where none has any: every process runs every part in each pass.
        """
        return [group for group in groups if self._teaches(group)] or [min(groups, key=_num_tokens)]

    def _teaches(self, group: Group) -> bool:
        return group.replayed or group.spread or self.first_weights is not None

    def _everywhere(self, groups: Sequence[Group], places: Sequence[int]) -> list[JsonObject]:
        """What is watched of the groups of all processes, in the order of the batch."""
        own = [
            {
                "place": place, "rewards": group.rewards, "parts": [answer.parts for answer in group.answers],
                "lengths": _lengths(group), "masked": [self._masked(answer) for answer in group.answers] or [False],
                "truncated": [answer.truncated for answer in group.answers], "spread": group.spread, "tries": group.tries,
                "attacks": self._attacked(group, place),
            }
            for group, place in zip(groups, places, strict=True)
        ]  # fmt: skip
        found: list[JsonObject] = gather_object(own) if self.accelerator.num_processes > 1 else own
        return sorted(found, key=lambda one: one["place"])

    def _attacked(self, group: Group, place: int) -> Scores:
        """What attacks on a prompt earn, of the first few of a batch: enough for a curve."""
        if self.attacks is None or place >= ATTACKED or group.replayed:
            return {}
        return self.attacks.of(group.item.drawn)

    def _masked(self, answer: SampledAnswer) -> bool:
        return answer.truncated and self.settings.truncated == "mask"

    def _batch(self, groups: Sequence[Group]) -> Batch:
        """What the objective takes of a micro batch."""
        processor, llm = self.rollouts.engine.processor, self.rollouts.engine.model.llm
        prompts = [
            AnsweredPrompt(
                self.rollouts.renewed(group.item.prompt), [answer.tokens for answer in group.answers]
            )
            for group in groups
        ]
        batch = answer_batch(prompts, processor, llm)
        lengths = [length for group in groups for length in _lengths(group)]
        counts = torch.tensor(lengths)
        weights = [
            token_weights(length, self.settings) * counted
            for length, counted in zip(
                lengths, (one for group in groups for one in self._counted(group)), strict=True
            )
        ]
        advantages = torch.cat([self._advantages(group) for group in groups])
        batch["advantages"] = advantages.repeat_interleave(counts)
        batch["weights"] = torch.tensor(weights, dtype=torch.float32).repeat_interleave(counts)
        batch["engine"] = torch.cat([_engine_logprobs(group) for group in groups])
        batch["replayed"] = batch["engine"].isnan()
        return batch

    def _advantages(self, group: Group) -> Tensor:
        """One per answer. A replayed answer has a constant, with which the gradient is that of the cross entropy."""
        if group.replayed:
            return torch.tensor([self.settings.replay_weight])
        rewards = torch.tensor([group.rewards], dtype=torch.float64)
        return group_advantages(rewards, self.settings)[0].float()

    def _counted(self, group: Group) -> list[bool]:
        """Whether each answer trains."""
        if group.replayed:
            return [True]
        return [self._teaches(group) and not self._masked(answer) for answer in group.answers]

    def _add_reference(self) -> None:
        """Log-probabilities at the stage's first weights, before the model changes."""
        objective = self.accelerator.unwrap_model(self.model)
        assert isinstance(objective, GroupRelativePolicy) and self.first_weights is not None
        with (
            self.first_weights.in_place_of(changing_state(objective)),
            torch.no_grad(),
            self.accelerator.autocast(),
        ):
            for batch in self._batches:
                inputs = self._prepare_inputs(
                    {name: batch[name] for name in batch if name not in ("engine", "advantages", "weights")}
                )
                labels = inputs.pop("labels")
                batch["reference"] = objective.tokens(labels, **inputs).logprobs

    def compute_loss(self, model: nn.Module, inputs: Batch, *given: Any, **more: Any) -> Loss:
        """The objective's loss; the first pass over a batch says how probable its tokens were when they were drawn."""
        loss, outputs = super().compute_loss(model, inputs, *given, return_outputs=True, **more)
        self.watched.passed(outputs["watched"])
        if self.state.global_step % self.settings.updates == 0:
            batch = self._batches[self._passed]
            if self.settings.updates > 1:
                batch["old"] = outputs["logprobs"]
            self._compare(batch["engine"].to(outputs["plain"].device), outputs["plain"])
        self._passed += 1
        return loss

    def _compare(self, engine: Tensor, training: Tensor) -> None:
        """Say where the engine computes otherwise than the training pass: a ratio of both would not begin at 1."""
        drawn = ~engine.isnan()
        gap = float((engine - training)[drawn].abs().max()) if drawn.any() else 0.0
        self.watched.gap = max(self.watched.gap, gap)
        if not gap <= self._reported:
            self._reported = 10 * gap
            logger.warning(
                "step %d: log-probabilities of the engine and of the training pass differ by up to %.2g, more than %.0e; "
                "the ratio is taken between training passes, so answers come from a slightly other model than the one that "
                "learns%s",
                self.state.global_step + 1, gap, AGREEMENT,
                " (bfloat16 rounds so)" if self.args.bf16 else "",
            )  # fmt: skip

    def batch_totals(self, batch: Batch) -> Tensor:
        """Reward, length and truncation of the likeliest answer to each prompt."""
        model = self.accelerator.unwrap_model(self.model).model
        model.eval()
        self.rollouts.engine.forget()
        answers = self.rollouts.greedy(batch["prompts"])
        rows = [(answer.reward, len(answer.tokens), float(answer.truncated)) for answer in answers]
        return torch.tensor(rows, dtype=torch.float64, device=self.args.device)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Show what was watched since the last time next to the loss."""
        if "loss" in logs:
            logs |= self.watched.means(self.accelerator)
        super().log(logs, start_time)

    def _save_checkpoint(self, model: nn.Module, trial: Trial) -> None:
        self._kept_watched = self.watched.to_json(self.accelerator)
        super()._save_checkpoint(model, trial)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Weights of a checkpoint, and what was watched since the last entry of the history."""
        super().save_model(output_dir, _internal_call)
        if self._saving and self.args.should_save:
            write_json(Path(output_dir or self._folder) / WATCHED_FILE, self._kept_watched)

    def train(
        self, resume_from_checkpoint: str | bool | None = None, *given: Any, **more: Any
    ) -> TrainOutput:
        """Train, with a validation first: the curve of rewards begins where the model does. From a checkpoint, all goes on."""
        if resume_from_checkpoint is not None:
            assert isinstance(resume_from_checkpoint, str), resume_from_checkpoint
            text = (Path(resume_from_checkpoint) / WATCHED_FILE).read_text(encoding="utf-8")
            self.watched.restore(json.loads(text), first=self.accelerator.is_main_process)
        self.args.eval_on_start = resume_from_checkpoint is None and self.args.eval_strategy != "no"
        return super().train(resume_from_checkpoint, *given, **more)


def _lengths(group: Group) -> list[int]:
    """Tokens of each answer, or of the one that is replayed."""
    return [len(answer.tokens) for answer in group.answers] or [group.item.prompt.num_supervised]


def _engine_logprobs(group: Group) -> Tensor:
    """Log-probabilities of the tokens of all answers; NaN where the engine did not draw them."""
    if group.replayed:
        return torch.full((group.item.prompt.num_supervised,), torch.nan)
    return torch.tensor([value for answer in group.answers for value in answer.logprobs])


def _num_tokens(group: Group) -> int:
    return len(group.item.prompt.input_ids) + sum(len(answer.tokens) for answer in group.answers)


class Watched:
    """Sums of what is shown of rollouts and passes, since the last entry of the history."""

    def __init__(self, rollouts: Rollouts) -> None:
        self._rewards = [entry.name for entry in rollouts.reward.entries]
        self.reset()

    def reset(self) -> None:
        """Set all sums to zero."""
        self.sums: dict[str, float] = defaultdict(float)
        self.counts: dict[str, int] = defaultdict(int)
        self.attacks: list[dict[str, Sequence[float]]] = []
        self.tokens = torch.zeros(len(WATCHED), dtype=torch.float64)
        self.gap = 0.0

    def rollouts(self, groups: Sequence[JsonObject]) -> None:
        """Count the groups of all processes; each process does."""
        for group in groups:
            if not group["rewards"]:
                continue  # replayed
            self._add("groups_without_spread", float(not group["spread"]))
            self._add("refilled", float(group["tries"]))
            for reward, parts, length, truncated in zip(
                group["rewards"], group["parts"], group["lengths"], group["truncated"], strict=True
            ):
                self._add("reward", reward)
                self._add("answer_length", length)
                self._add("truncated", float(truncated))
                for name, score in parts.items():
                    self._add(f"reward/{name}", score)
            if group["attacks"]:
                self.attacks.append(group["attacks"])

    def _add(self, name: str, value: float) -> None:
        self.sums[name] += value
        self.counts[name] += 1

    def passed(self, sums: Tensor) -> None:
        """Count the tokens of a pass of this process."""
        self.tokens += sums.cpu()

    def means(self, accelerator: Accelerator) -> dict[str, float]:
        """Everything per answer, group or token; then all sums are set to zero."""
        found = {name: self.sums[name] / self.counts[name] for name in sorted(self.sums)}
        tokens, gap = self._all_tokens(accelerator)
        if tokens[0]:  # else no answer taught anything
            found |= dict(zip(WATCHED[1:], (tokens[1:] / tokens[0]).tolist(), strict=True))
        found["logprob_gap"] = gap
        found |= {f"attack/{name}": value for name, value in mean_payoffs(self.attacks).items()}
        self.reset()
        return found

    def _all_tokens(self, accelerator: Accelerator) -> tuple[Tensor, float]:
        if accelerator.num_processes == 1:
            return self.tokens, self.gap
        both = gather_object([(self.tokens.tolist(), self.gap)])
        return torch.tensor([one for one, _ in both], dtype=torch.float64).sum(0), max(gap for _, gap in both)

    def to_json(self, accelerator: Accelerator) -> JsonObject:
        """Plain values, over all processes."""
        tokens, gap = self._all_tokens(accelerator)
        return {
            "sums": dict(self.sums), "counts": dict(self.counts), "attacks": self.attacks, "tokens": tokens.tolist(),
            "gap": gap,
        }  # fmt: skip

    def restore(self, kept: JsonObject, *, first: bool) -> None:
        """Go on from `to_json`; tokens are summed over processes, so the first one alone takes them."""
        self.sums, self.counts = defaultdict(float, kept["sums"]), defaultdict(int, kept["counts"])
        self.attacks = kept["attacks"]
        if first:
            self.tokens, self.gap = torch.tensor(kept["tokens"], dtype=torch.float64), kept["gap"]


class _BetweenBatches(TrainerCallback):
    """Moves checkpoints, and stops, to the end of a batch of answers: what is drawn then depends on the weights alone."""

    def __init__(self, updates: int) -> None:
        self.updates = updates
        self.save = self.stop = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Wait where a batch is not used up, unless the stage ends here."""
        self.save, self.stop = self.save or control.should_save, self.stop or control.should_training_stop
        between = state.global_step % self.updates == 0 or state.global_step >= state.max_steps
        control.should_save, control.should_training_stop = between and self.save, between and self.stop
        if between:
            self.save = self.stop = False

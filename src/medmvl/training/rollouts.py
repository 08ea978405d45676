"""Rollouts: groups of answers of the model that trains, decoded by the engine, and what each answer earns.

Everything that is drawn depends on the recipe's seed, the number of the batch and the prompt alone: a restart, and any number
of processes, give the same answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch

from medmvl.data.feature_cache import FeatureReader
from medmvl.data.sampler import mixture_order
from medmvl.engine.options import GenerationOptions
from medmvl.engine.sequence_decoder import SequenceDecoder
from medmvl.engine.sequences import SequenceState
from medmvl.models.visuals import ProcessedSample, ProcessedVisual
from medmvl.rewards.combined import CombinedReward, Earned
from medmvl.tasks.metrics.record import Record
from medmvl.training.policy import has_spread
from medmvl.training.policy_data import PromptDataset, PromptItem
from medmvl.training.policy_recipe import GroupPolicy


@dataclass(frozen=True)
class SampledAnswer:
    """One answer to a prompt."""

    tokens: tuple[int, ...]
    """Generated ids, the one that ended it among them."""
    logprobs: tuple[float, ...]
    """Log-probability of each token at temperature 1, as the engine computed it."""
    truncated: bool
    """True where it was cut off at `max_new_tokens`."""
    reward: float
    """Reward after the penalty for its length."""
    parts: dict[str, float]
    """Score by the reward's name."""


@dataclass(frozen=True)
class Group:
    """A prompt with its answers."""

    item: PromptItem
    answers: tuple[SampledAnswer, ...]
    """Empty where the sample's own answer is replayed."""
    tries: int = 0
    """Prompts that were replaced before this one, as their answers all earned the same."""

    @property
    def replayed(self) -> bool:
        """Whether the sample's own answer trains, and none was drawn."""
        return not self.answers

    @property
    def rewards(self) -> list[float]:
        """What each answer earns."""
        return [answer.reward for answer in self.answers]

    @property
    def spread(self) -> bool:
        """Whether the answers earn differently."""
        return not self.replayed and bool(has_spread(torch.tensor([self.rewards], dtype=torch.float64)))


class Rollouts:
    """Draws answers with a model that goes on training.

    Args:
        engine: around the model itself; it holds no copy of the weights.
        dataset: prompts, also those that replace others.
        reward: what answers earn.
        settings: settings of the stage.
        seed: seed of the recipe.
        autocast: number types of the computation, as in training.
    """

    def __init__(
        self,
        engine: SequenceDecoder,
        dataset: PromptDataset,
        reward: CombinedReward,
        settings: GroupPolicy,
        seed: int,
        autocast: Callable[[], AbstractContextManager[object]],
    ) -> None:
        self.engine = engine
        self.dataset = dataset
        self.reward = reward
        self.settings = settings
        self.seed = seed
        self.autocast = autocast
        self._earned: dict[tuple[int, str], Earned] = {}

    def draw(
        self, items: Sequence[PromptItem], places: Sequence[int], number: int, everywhere: Sequence[int]
    ) -> list[Group]:
        """A group of answers to each prompt; a prompt whose answers all earn the same is replaced, a bounded number of times.

        Args:
            items: the prompts of this process.
            places: where each of them is in the batch of all processes.
            number: number of the batch, from 0.
            everywhere: the prompts of the whole batch.
        """
        self.engine.forget()
        self._earned.clear()
        groups = self._groups(items, number)
        spare: list[int] = []
        for attempt in range(1, self.settings.refills + 1):
            flat = [index for index, group in enumerate(groups) if not group.spread]
            if not flat:
                break
            spare = spare or self._spare(number, everywhere)
            if not spare:
                break
            chosen = [spare[((attempt - 1) * len(everywhere) + places[index]) % len(spare)] for index in flat]
            fresh = self._groups([self.dataset.prompt(index) for index in chosen], number, attempt)
            for index, group in zip(flat, fresh, strict=True):
                groups[index] = replace(group, tries=attempt)
        return groups

    def greedy(self, items: Sequence[PromptItem]) -> list[SampledAnswer]:
        """The likeliest answer to each prompt."""
        self._earned.clear()
        options = GenerationOptions(max_new_tokens=self.settings.max_new_tokens)
        sequences = [self.engine.new_sequence(options) for _ in items]
        with self.autocast():
            self.engine.decode_sequences([item.prompt for item in items], sequences)
        return [self._judged(item, sequence) for item, sequence in zip(items, sequences, strict=True)]

    def renewed(self, prompt: ProcessedSample) -> ProcessedSample:
        """A prompt with features in place of pixels, where the engine has just made and kept them."""
        reader = self.dataset.samples.features
        if reader is None:
            return prompt
        return replace(prompt, visuals=tuple(_renewed(visual, reader) for visual in prompt.visuals))

    def _spare(self, number: int, everywhere: Sequence[int]) -> list[int]:
        """All other prompts in an order that depends on seed and batch alone."""
        samples, used = self.dataset.samples, set(everywhere)
        order = mixture_order(samples.sizes, samples.weights, seed=self.seed + 1, epoch=number)
        return [row for row in map(int, order) if row not in used and self.dataset.is_prompt(row)]

    def _groups(self, items: Sequence[PromptItem], number: int, attempt: int = 0) -> list[Group]:
        size = self.settings.group_size
        at_once = max(1, (self.settings.answers_at_once or len(items) * size) // size)
        found: list[Group] = []
        for start in range(0, len(items), at_once):
            chosen = items[start : start + at_once]
            sequences = [
                self.engine.new_sequence(self._options(number, attempt, item.row, answer))
                for item in chosen
                for answer in range(size)
            ]
            with self.autocast():
                self.engine.decode_sequences([item.prompt for item in chosen], sequences)
            for place, item in enumerate(chosen):
                own = sequences[place * size : (place + 1) * size]
                found.append(Group(item, tuple(self._judged(item, one) for one in own)))
        return found

    def _options(self, number: int, attempt: int, index: int, answer: int) -> GenerationOptions:
        settings = self.settings
        return GenerationOptions(
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            top_p=settings.top_p,
            seed=answer_seed(self.seed, number, attempt, index, answer),
            logprobs=0,
        )

    def _judged(self, item: PromptItem, sequence: SequenceState) -> SampledAnswer:
        earned = self._scored(item, sequence.inline)
        truncated = sequence.finish != "stop"
        tokens, logprobs = list(sequence.tokens), [entry.logprob for entry in sequence.logprobs]
        if sequence.end_token is not None:
            tokens.append(sequence.end_token)
            logprobs += [] if sequence.end_logprob is None else [sequence.end_logprob]
        reward = self._paid(earned, len(tokens), truncated)
        return SampledAnswer(tuple(tokens), tuple(logprobs), truncated, reward, earned.parts)

    def _scored(self, item: PromptItem, text: str) -> Earned:
        """What a text earns; in a batch, equal answers to a prompt are scored once."""
        key = item.row, text
        if key not in self._earned:
            self._earned[key] = self.reward.score(replace(item.drawn, text=text))
        return self._earned[key]

    def _paid(self, earned: Earned, length: int, truncated: bool) -> float:
        """What is left of a reward after the penalty for length (DAPO's soft punishment, scaled to rewards from 0 to 1)."""
        settings = self.settings
        if settings.truncated != "penalty":
            return earned.total
        if truncated:
            return 0.0
        left = settings.max_new_tokens - length
        return (
            earned.total * min(1.0, max(0, left) / settings.overlong_tokens)
            if settings.overlong_tokens
            else earned.total
        )


def _renewed(visual: ProcessedVisual, reader: FeatureReader) -> ProcessedVisual:
    key, found = visual.feature_key, reader.renewed(visual)
    if key is None or found is visual:
        return visual
    return replace(found.views[key.view], question_ids=visual.question_ids)


def answer_seed(*numbers: int) -> int:
    """A seed that differs wherever one of the numbers does."""
    return int.from_bytes(hashlib.blake2b(repr(numbers).encode(), digest_size=7).digest(), "big")


def check_rewards(reward: CombinedReward, records: Iterable[Record]) -> None:
    """Look whether every prompt can be judged, and whether the right answer and an empty one earn numbers from 0 to 1.

    Raises:
        UserError: naming reward and sample.
    """
    records = list(records)
    reward.check(records)
    for record in records[:: max(1, len(records) // PROBED)]:
        for text in (record.references[0], ""):
            reward.score(replace(record, text=text))


PROBED = 200
"""Records whose right answers are scored before the first step."""

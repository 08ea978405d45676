"""Prompts to learn from by one's own answers, and how prompts with their answers become a batch.

The answers of a group share their prompt. Where an LLM's attention allows it, they are put after it in one row, each seeing the
prompt and itself, so that the prompt with all its visual tokens is computed once and not once per answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from medmvl.data.dataset import SampleDataset
from medmvl.data.sampler import Mixture
from medmvl.data.sources import LoadedSource
from medmvl.data.views import SampleView
from medmvl.errors import SampleError
from medmvl.models.answer_loss import supervised_positions
from medmvl.models.causal_attention import is_purely_causal
from medmvl.models.collation import Batch
from medmvl.models.packing import Continuation, SharedBeginning, alone, packed_row
from medmvl.models.visuals import IGNORED_LABEL, ProcessedSample
from medmvl.schema import Sample
from medmvl.tasks.judge import target_of
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.protocols.predictions import record_of
from medmvl.training.recipe import Stage
from medmvl.training.stage_data import StageDataset
from medmvl.training.training_order import TrainingOrder

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from medmvl.models.processing import MedMVLProcessor

REPEATED = -1
"""Index of a prompt that is not read: its step trains on the answers of the step before."""


class Prompts(SampleView):
    """Samples without their last answer, which becomes the truth that answers are judged by."""

    def make(self, index: int) -> Sample:
        """A conversation that waits for an answer.

        Raises:
            SampleError: the sample says nowhere what a right answer is.
        """
        sample = self.samples[index]
        truth = target_of(sample)
        if truth is None:
            raise SampleError(
                f"sample '{sample.id}' has no target, no solution and no answer at its end, so it is unknown what its answers  "
                "should earn"
            )
        return sample.prompt().model_copy(update={"target": truth})


class PromptItem(NamedTuple):
    """A prompt, processed, with what its answers are judged by."""

    row: int
    """Index in the data set."""
    record: Record | None
    """None where no answer is drawn: `prompt` brings its own, which is learned."""
    prompt: ProcessedSample

    @property
    def drawn(self) -> Record:
        """The record of a prompt whose answers are drawn."""
        assert self.record is not None, "a replayed sample is not judged"
        return self.record


class PromptDataset(StageDataset):
    """Prompts of some sources, and samples whose own answers are replayed; `REPEATED` gives None."""

    @cached_property
    def prompt_rows(self) -> list[int]:
        """Indices of the prompts, without the samples that are replayed."""
        ends = list(accumulate(self.samples.sizes, initial=0))
        sources = zip(self.samples.sources, pairwise(ends), strict=True)
        return [row for source, (start, end) in sources if not source.replay for row in range(start, end)]

    @cached_property
    def _prompts(self) -> frozenset[int]:
        return frozenset(self.prompt_rows)

    def is_prompt(self, index: int) -> bool:
        """Whether answers to a sample are drawn, and not its own replayed."""
        return index in self._prompts

    def __getitem__(self, index: int) -> PromptItem | None:  # type: ignore[override]  # CollatePrompts takes these
        if index == REPEATED:
            return None
        return self.prompt(index)

    def prompt(self, index: int) -> PromptItem:
        """The prompt at an index, read now."""
        record = self.record(index) if self.is_prompt(index) else None
        return PromptItem(index, record, self.samples[index])

    def record(self, index: int) -> Record:
        """What the answers to a prompt are judged by; reads no pixel."""
        return record_of(self.samples.sample(index), None)

    @property
    def question_types(self) -> list[str | None]:
        """The type of every prompt's question."""
        return [self.record(index).question_type for index in range(len(self))]


def open_prompts(sources: Sequence[LoadedSource], processor: MedMVLProcessor, **limits: Any) -> PromptDataset:
    """The prompts of some sources.

    Raises:
        SampleError: a sample without a truth, when its text is first looked at.
    """
    prompts = [
        source if source.replay else replace(source, samples=Prompts(source.samples)) for source in sources
    ]
    dataset = PromptDataset(SampleDataset(prompts, processor, supervised=False, **limits))
    if not dataset.prompt_rows:
        raise SampleError("nothing is left to draw answers to: all data of the stage are replayed")
    _check_replayed(dataset)
    return dataset


def _check_replayed(dataset: PromptDataset) -> None:
    samples = dataset.samples
    replayed = [row for row in range(len(dataset)) if not dataset.is_prompt(row)]
    if not replayed:
        return
    if missing := sorted(set(samples.unanswered).intersection(replayed)):
        name = samples.sample(missing[0]).id
        raise SampleError(f"sample '{name}' is to be replayed, and no assistant turn of it has text")
    lengths, limit = samples.lengths, samples.max_length
    if limit is not None and (long := [row for row in replayed if lengths[row] > limit]):
        raise SampleError(
            f"sample '{samples.sample(long[0]).id}' is to be replayed and has {lengths[long[0]]} tokens, more than "
            f"max_length {limit}; raise model.max_length, or set data.drop_too_long"
        )


class PromptOrder(TrainingOrder):
    """The prompts of a stage in order; a batch of answers that is used for several steps is asked for once."""

    def __init__(self, mixture: Mixture, stage: Stage, seed: int, updates: int) -> None:
        super().__init__(mixture, stage, seed)
        self.updates = updates
        if stage.max_steps is None:
            self.num_steps *= updates
        self._known: tuple[int, list[int]] | None = None

    def prompts_of(self, number: int) -> list[int]:
        """The prompts of the batch of answers with this number, from 0, over all processes."""
        epoch, place = divmod(number, self.steps_per_epoch)
        if self._known is None or self._known[0] != epoch:
            self._known = epoch, self._epoch(epoch)
        return self._known[1][place * self.batch_size : (place + 1) * self.batch_size]

    def __iter__(self) -> Iterator[int]:
        for step in range(self.num_steps):
            if step % self.updates:
                yield from [REPEATED] * self.batch_size
            else:
                yield from self.prompts_of(step // self.updates)


class CollatePrompts:
    """Hands prompts over as they are: what trains is their answers, which do not exist yet."""

    packed = False

    def __call__(self, items: Sequence[PromptItem | None]) -> Batch:
        """Prompts of a micro batch."""
        return {"prompts": list(items)}


class AnsweredPrompt(NamedTuple):
    """A prompt and its answers as token ids, stop ids among them."""

    prompt: ProcessedSample
    answers: Sequence[Sequence[int]]
    """Empty where the prompt has labels, and with them its own answer."""


def answer_batch(groups: Sequence[AnsweredPrompt], processor: MedMVLProcessor, llm: PreTrainedModel) -> Batch:
    """What the model takes of prompts with their answers; the supervised tokens are those of all answers in order.

    The answers of a group are in one row after their prompt where that is exact and less work, else each has a row.
    """
    if _shares_prompts(groups, llm):
        return _in_one_row(groups)
    rows = [row for group in groups for row in _rows(group)]
    return _with_positions(dict(processor.collate(rows)))


def _with_positions(batch: Batch) -> Batch:
    """What the host knows stays in its hands: the table, slice positions, and where supervised tokens are."""
    if "visual_table" in batch:
        batch["visual_table"] = batch["visual_table"].tolist()
    batch["supervised_positions"] = supervised_positions(batch["labels"])
    return batch


def _rows(group: AnsweredPrompt) -> list[ProcessedSample]:
    if not group.answers:
        return [group.prompt]
    return [_row(group.prompt, torch.tensor(list(answer))) for answer in group.answers]


def _row(prompt: ProcessedSample, answer: Tensor) -> ProcessedSample:
    labels = torch.cat([torch.full_like(prompt.input_ids, IGNORED_LABEL), answer])
    return replace(prompt, input_ids=torch.cat([prompt.input_ids, answer]), labels=labels)


def _shares_prompts(groups: Sequence[AnsweredPrompt], llm: PreTrainedModel) -> bool:
    """Whether answers may follow one prompt, and cost less so: they attend to each other's tokens, masked, too."""
    config = llm.config
    longest = max(len(group.prompt.input_ids) + max(map(len, group.answers), default=0) for group in groups)
    drawn = [group for group in groups if group.answers]
    if not is_purely_causal(config, longest) or any(_ends_in_a_visual(group.prompt) for group in drawn):
        return False
    width, inner = config.hidden_size, getattr(config, "intermediate_size", 4 * config.hidden_size)
    per_token, per_pair = 8 * width * width + 6 * width * inner, 4 * width
    together = apart = 0
    for group in drawn:
        prompt, lengths = len(group.prompt.input_ids), [len(answer) for answer in group.answers]
        own = sum(length + 1 for length in lengths)
        pairs = prompt**2 // 2 + own * (prompt + own)
        together += (prompt + own) * per_token + pairs * per_pair
        apart += sum((prompt + n) * per_token + (prompt + n) ** 2 * per_pair // 2 for n in lengths)
    return together < apart


def _ends_in_a_visual(prompt: ProcessedSample) -> bool:
    last = len(prompt.input_ids) - 1
    return any(
        start + visual.num_tokens > last for start, visual in zip(prompt.starts, prompt.visuals, strict=True)
    )


def _in_one_row(groups: Sequence[AnsweredPrompt]) -> Batch:
    """One row: of each prompt all but its last token, then for each answer that token and the answer.

    The last token of the prompt predicts the first of each answer, so each answer brings a copy of it.
    """
    return _with_positions(dict(packed_row([_beginning(group) for group in groups])))


def _beginning(group: AnsweredPrompt) -> SharedBeginning:
    prompt = group.prompt
    if not group.answers:
        return alone(prompt)
    last = prompt.input_ids[-1:]
    return SharedBeginning(
        prompt, len(prompt.input_ids) - 1, [_continuation(last, answer) for answer in group.answers]
    )


def _continuation(last: Tensor, answer: Sequence[int]) -> Continuation:
    tokens = torch.tensor(list(answer))
    return Continuation(torch.cat([last, tokens]), torch.cat([torch.full_like(last, IGNORED_LABEL), tokens]))

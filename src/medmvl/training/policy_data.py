"""Prompts to learn from by one's own answers, and how prompts with their answers become a batch.

The answers of a group share their prompt. Where an LLM's attention allows it, they are put after it in one row, each seeing the
prompt and itself, so that the prompt with all its visual tokens is computed once and not once per answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
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
from medmvl.models.packing import Continuation, SharedBeginning, packed_row
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
                f"sample '{sample.id}' has no target, no solution and no answer at its end, so nothing tells what its answers "
                "should earn"
            )
        return sample.prompt().model_copy(update={"target": truth})


class PromptItem(NamedTuple):
    """A prompt, processed, with what its answers are judged by."""

    row: int
    """Index in the data set."""
    record: Record
    prompt: ProcessedSample


class PromptDataset(StageDataset):
    """Prompts of some sources; `REPEATED` gives None."""

    def __getitem__(self, index: int) -> PromptItem | None:  # type: ignore[override]  # CollatePrompts takes these
        if index == REPEATED:
            return None
        return self.prompt(index)

    def prompt(self, index: int) -> PromptItem:
        """The prompt at an index, read now."""
        return PromptItem(index, self.record(index), self.samples[index])

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
    prompts = [replace(source, samples=Prompts(source.samples)) for source in sources]
    return PromptDataset(SampleDataset(prompts, processor, supervised=False, **limits))


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


def answer_batch(groups: Sequence[AnsweredPrompt], processor: MedMVLProcessor, llm: PreTrainedModel) -> Batch:
    """What the model takes of prompts with their answers; the supervised tokens are those of all answers in order.

    The answers of a group are in one row after their prompt where that is exact and less work, else each has a row.
    """
    if _shares_prompts(groups, llm):
        return _in_one_row(groups)
    rows = [_row(group.prompt, torch.tensor(list(answer))) for group in groups for answer in group.answers]
    return _with_positions(dict(processor.collate(rows)))


def _with_positions(batch: Batch) -> Batch:
    """What the host knows stays in its hands: the table, slice positions, and where supervised tokens are."""
    if "visual_table" in batch:
        batch["visual_table"] = batch["visual_table"].tolist()
    batch["supervised_positions"] = supervised_positions(batch["labels"])
    return batch


def _row(prompt: ProcessedSample, answer: Tensor) -> ProcessedSample:
    labels = torch.cat([torch.full_like(prompt.input_ids, IGNORED_LABEL), answer])
    return replace(prompt, input_ids=torch.cat([prompt.input_ids, answer]), labels=labels)


def _shares_prompts(groups: Sequence[AnsweredPrompt], llm: PreTrainedModel) -> bool:
    """Whether answers may follow one prompt, and cost less so: they attend to each other's tokens, masked, too."""
    config = llm.config
    longest = max(len(group.prompt.input_ids) + max(map(len, group.answers)) for group in groups)
    if not is_purely_causal(config, longest) or any(_ends_in_a_visual(group.prompt) for group in groups):
        return False
    width, inner = config.hidden_size, getattr(config, "intermediate_size", 4 * config.hidden_size)
    per_token, per_pair = 8 * width * width + 6 * width * inner, 4 * width
    together = apart = 0
    for group in groups:
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
    beginnings = [
        SharedBeginning(
            group.prompt,
            len(group.prompt.input_ids) - 1,
            [_continuation(group.prompt.input_ids[-1:], answer) for answer in group.answers],
        )
        for group in groups
    ]
    return _with_positions(dict(packed_row(beginnings)))


def _continuation(last: Tensor, answer: Sequence[int]) -> Continuation:
    tokens = torch.tensor(list(answer))
    return Continuation(torch.cat([last, tokens]), torch.cat([torch.full_like(last, IGNORED_LABEL), tokens]))

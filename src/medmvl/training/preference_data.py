"""Pairs of a chosen and a rejected answer as a data set: both answers of a pair in one item, its scans once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from medmvl.data.dataset import SampleDataset
from medmvl.data.sources import LoadedSource
from medmvl.data.views import SampleView
from medmvl.errors import SampleError
from medmvl.models.collation import Batch
from medmvl.models.visuals import IGNORED_LABEL, ProcessedSample
from medmvl.schema import Message, Sample, TextBlock
from medmvl.training.stage_data import Collate, StageDataset

if TYPE_CHECKING:
    from medmvl.models.processing import MedMVLProcessor


class Answers(SampleView):
    """The two answers to each sample's question: chosen at even places, rejected at the odd ones after them."""

    def __len__(self) -> int:
        return 2 * len(self.samples)

    def make(self, index: int) -> Sample:
        """A conversation that ends with one of the answers.

        Raises:
            SampleError: the sample has no pair of answers.
        """
        sample = self.samples[index // 2]
        text = sample.rejected if index % 2 else sample.chosen
        if text is None:
            raise SampleError(
                f"sample '{sample.id}' has no chosen and rejected answer, which the dpo objective learns from; "
                "`medmvl data pairs` makes such samples of several answers"
            )
        answer = Message(role="assistant", content=(TextBlock(text=text),)).with_reasoning_apart()
        return sample.prompt().model_copy(update={"messages": (*sample.prompt().messages, answer)})


class PairMixture:
    """Sizes, lengths and studies of pairs, from those of their answers."""

    def __init__(self, answers: SampleDataset) -> None:
        self.answers = answers
        self.sources = answers.sources

    @property
    def sizes(self) -> list[int]:
        """Pairs of each source."""
        return [size // 2 for size in self.answers.sizes]

    @property
    def weights(self) -> list[float]:
        """Passes over each source per epoch."""
        return self.answers.weights

    @property
    def lengths(self) -> list[int]:
        """Tokens of the longer answer's conversation."""
        lengths = self.answers.lengths
        return [max(pair) for pair in zip(lengths[::2], lengths[1::2], strict=True)]

    @property
    def study_keys(self) -> list[int]:
        """A number per pair, equal where the files are the same."""
        return self.answers.study_keys[::2]

    @property
    def shards(self) -> list[int]:
        """A number per pair, equal where its files are in one shard; -1 where they are in none."""
        return self.answers.shards[::2]


class PairItem(NamedTuple):
    """A pair, processed, and what the reference model gives its answers."""

    sample: Sample
    chosen: ProcessedSample
    rejected: ProcessedSample
    reference: Tensor
    """`(2,)`: log-probability of the chosen and of the rejected answer; NaN before they are known."""


class PairDataset(StageDataset):
    """Pairs of some sources."""

    def __init__(self, samples: SampleDataset) -> None:
        super().__init__(samples)
        self.reference = torch.full((len(self), 2), torch.nan, dtype=torch.float64)
        """Log-probabilities of the answers at the stage's first weights."""

    @property
    def mixture(self) -> PairMixture:
        """What the order of training is made from."""
        return PairMixture(self.samples)

    def __len__(self) -> int:
        return len(self.samples) // 2

    def __getitem__(self, index: int) -> PairItem:  # type: ignore[override]  # CollatePairs takes these
        chosen, rejected = (_last_answer_only(self.samples[2 * index + place]) for place in range(2))
        return PairItem(self.samples.sample(2 * index), chosen, rejected, self.reference[index])

    @property
    def question_types(self) -> list[str | None]:
        """The type of every pair's question where its answers are a closed set."""
        targets = [self.samples.sample(2 * index).target for index in range(len(self))]
        return [target.question_type if target is not None and target.choices else None for target in targets]


def _last_answer_only(processed: ProcessedSample) -> ProcessedSample:
    """Supervised is the last turn of the assistant alone: the others are the same in both answers."""
    assert processed.labels is not None
    places = (processed.labels != IGNORED_LABEL).nonzero()[:, 0]
    breaks = (places.diff() > 1).nonzero()
    first = int(places[int(breaks[-1]) + 1]) if len(breaks) else int(places[0])
    labels = processed.labels.clone()
    labels[:first] = IGNORED_LABEL
    return replace(processed, labels=labels)


def open_pairs(
    sources: Sequence[LoadedSource], processor: MedMVLProcessor, *, drop_too_long: bool, **limits: Any
) -> PairDataset:
    """The pairs of some sources.

    Raises:
        SampleError: a sample without a pair, when its text is first looked at; or samples are to be dropped, which would
            leave halves of pairs.
    """
    if drop_too_long:
        raise SampleError(
            "data.drop_too_long does not go with the dpo objective: one answer of a pair would be left; leave out long pairs "
            "first, or raise model.max_length"
        )
    answers = [replace(source, samples=Answers(source.samples)) for source in sources]
    return PairDataset(SampleDataset(answers, processor, supervised=True, **limits))


class CollatePairs(Collate):
    """Makes batches of pairs: the chosen answers in the first rows, the rejected ones in as many after them."""

    def __call__(self, items: Sequence[PairItem]) -> Batch:  # type: ignore[override]  # what PairDataset gives
        """`labels` counts pairs, `answer_labels` `(2 B, L)` holds both answers, `reference` is `(B, 2)`."""
        rows = [item.chosen for item in items] + [item.rejected for item in items]
        batch = dict(self.processor.collate(rows))
        batch["answer_labels"] = batch.pop("labels")
        batch["labels"] = torch.ones(len(items), dtype=torch.long)
        batch["reference"] = torch.stack([item.reference for item in items]).float()
        return batch

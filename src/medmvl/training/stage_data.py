"""What an objective reads of a data set, and how its batches are made from the processor's.

`lm` reads samples as they are, `dpo` pairs of answers (`preference_data`), `grpo` prompts (`policy_data`),
`answer_alignment` the first question of each sample and its answer. `classification` and `contrastive` read each study once:
its current images and volumes with the truth about it, or with its report.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import torch
from torch.utils.data import Dataset

from medmvl.data.check import reasoning_note
from medmvl.data.dataset import SampleDataset
from medmvl.data.prepared import PreparedCache
from medmvl.data.sampler import Mixture
from medmvl.data.sources import LoadedSource
from medmvl.data.views import SampleView
from medmvl.errors import SampleError
from medmvl.models.answer_loss import supervised_positions
from medmvl.models.collation import Batch
from medmvl.models.packing import pack
from medmvl.models.visual_table import KINDS
from medmvl.models.visuals import IGNORED_LABEL, ProcessedSample
from medmvl.schema import ImageBlock, Message, Sample, VolumeBlock
from medmvl.training.recipe import Stage

if TYPE_CHECKING:
    from medmvl.models.processing import MedMVLProcessor


Collator = Callable[[Sequence[Any]], Batch]
"""Makes a batch of items; their type is the stage's objective's: `Item`, `PairItem` or `PromptItem`."""


class SourcedMixture(Mixture, Protocol):
    """What the order of training is made from, and whose samples these are."""

    @property
    def sources(self) -> Sequence[LoadedSource]:
        """Where the samples come from."""


class Item(NamedTuple):
    """A sample and what the processor made of it."""

    sample: Sample
    processed: ProcessedSample


class StageDataset(Dataset[Item]):
    """A SampleDataset whose items keep their sample next to them."""

    def __init__(self, samples: SampleDataset) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        return Item(self.samples.sample(index), self.samples[index])

    @property
    def mixture(self) -> SourcedMixture:
        """What the order of training is made from: sizes, weights, lengths and studies."""
        return self.samples

    @property
    def question_types(self) -> list[str | None]:
        """The type of every sample's question where its answers are a closed set."""
        targets = [self.samples.sample(index).target for index in range(len(self))]
        return [target.question_type if target is not None and target.choices else None for target in targets]


class Studies(SampleView):
    """The studies of a source, each once: the current visuals, and where asked for the first answer as report.

    Labels are those of all samples of the study that have some; samples that contradict each other are an error.

    Args:
        samples: all samples of the source.
        needs: what a study must have: a `report`, `labels`, or `nothing` but visuals.
        kinds: of visuals, such as `volume`; a study with another is left out.

    Raises:
        SampleError: two samples of a study contradict each other in a label.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        needs: Literal["report", "labels", "nothing"],
        kinds: Collection[str] = KINDS,
    ) -> None:
        super().__init__(samples)
        self.with_report = needs == "report"
        self.indices: list[int] = []
        self.labels: list[dict[str, float]] = []
        """Labels of each study: of all its samples together."""
        places: dict[tuple[str, ...], int] = {}
        for index, sample in enumerate(samples):
            key = study_of(sample)
            known = {"report": sample.has_answer, "labels": bool(sample.labels), "nothing": True}[needs]
            readable = all(block.type in kinds for block in _current(sample))
            if not (key and known and readable):
                continue
            if key not in places:
                places[key] = len(self.indices)
                self.indices.append(index)
                self.labels.append(dict(sample.labels))
            elif needs == "labels":
                self._add_labels(places[key], sample)

    def _add_labels(self, place: int, sample: Sample) -> None:
        """What another sample of the study says."""
        known = self.labels[place]
        for name, value in sample.labels.items():
            if known.setdefault(name, value) != value:
                raise SampleError(
                    f"sample '{sample.id}' has the label '{name}' at {value:g}, but another sample of the same images, "
                    f"'{self.samples[self.indices[place]].id}' or one after it, at {known[name]:g}; say one of them, or leave "
                    "out what is uncertain"
                )

    def __len__(self) -> int:
        return len(self.indices)

    def make(self, index: int) -> Sample:
        """The study at this place."""
        sample = self.samples[self.indices[index]]
        messages = [Message(role="user", content=_current(sample))]
        if self.with_report:
            report = next(
                message for message in sample.messages if message.role == "assistant" and message.text
            )
            messages.append(report.with_reasoning_apart().model_copy(update={"reasoning": None}))
        update = {"messages": tuple(messages), "boxes": (), "labels": self.labels[index]}
        return sample.model_copy(update=update)


class FirstAnswers(SampleView):
    """The samples with an image or volume and an answer, up to the first answer."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        super().__init__(samples)
        self.indices = [index for index, sample in enumerate(samples) if _asks_about_visual(sample)]

    def __len__(self) -> int:
        return len(self.indices)

    def make(self, index: int) -> Sample:
        """The beginning of the sample at this place."""
        sample = self.samples[self.indices[index]]
        end = _first_answer(sample)
        answer = sample.messages[end].with_reasoning_apart().model_copy(update={"reasoning": None})
        return sample.model_copy(update={"messages": (*sample.messages[:end], answer)})


def _first_answer(sample: Sample) -> int:
    """The number of the first turn of the assistant that says something."""
    return next(
        (number for number, turn in enumerate(sample.messages) if turn.role == "assistant" and turn.text), -1
    )


def _asks_about_visual(sample: Sample) -> bool:
    return any(
        isinstance(block, ImageBlock | VolumeBlock)
        for turn in sample.messages[: max(_first_answer(sample), 0)]
        for block in turn.content
    )


def study_of(sample: Sample) -> tuple[str, ...]:
    """The paths of a sample's current visuals, which name its study within a source."""
    return tuple(block.path for block in _current(sample))


def _current(sample: Sample) -> tuple[ImageBlock | VolumeBlock, ...]:
    return tuple(block for block in sample.visuals if not block.days_before_current)


def open_dataset(
    sources: Sequence[LoadedSource],
    stage: Stage,
    processor: MedMVLProcessor,
    max_length: int | None,
    prepared: PreparedCache | None = None,
    *,
    drop_too_long: bool = False,
) -> StageDataset:
    """The samples of a stage, their scans from the cache `prepared` where there is one.

    Raises:
        SampleError: there is nothing for the stage's objective to learn from.
    """
    limits: dict[str, Any] = {"max_length": max_length, "drop_too_long": drop_too_long, "prepared": prepared}
    if stage.objective != "grpo" and any(source.replay for source in sources):
        raise SampleError(
            f"stage '{stage.name}': replay is for the objective grpo; '{stage.objective}' learns from all of its data"
        )
    if stage.objective == "dpo":
        from medmvl.training.preference_data import open_pairs  # which builds on this file

        return open_pairs(sources, processor, **limits)
    if stage.objective == "grpo":
        from medmvl.training.policy_data import open_prompts  # likewise

        return open_prompts(sources, processor, **limits)
    if stage.objective == "lm":
        return StageDataset(SampleDataset(sources, processor, supervised=True, **limits))
    with_answer = stage.objective != "classification"
    views = [replace(source, samples=_view(stage, source.samples)) for source in sources]
    kept = [source for source in views if len(source.samples)]
    if not kept:
        needed = "an answer" if with_answer else "labels"
        names = ", ".join(source.name for source in sources)
        raise SampleError(
            f"stage '{stage.name}': no sample of {names} has both an image or volume and {needed}"
        )
    return StageDataset(SampleDataset(kept, processor, supervised=with_answer, **limits))


def _view(stage: Stage, samples: Sequence[Sample]) -> SampleView:
    """What an objective without an LLM reads of samples."""
    if stage.objective == "answer_alignment":
        return FirstAnswers(samples)
    return Studies(samples, "report" if stage.objective == "contrastive" else "labels")


def check_supervision(dataset: StageDataset, max_length: int | None) -> tuple[int, int]:
    """Look at every sample's text, at no pixels, before the first step; returns samples and tokens.

    Raises:
        SampleError: naming the first sample without an answer, or too long to keep it.
    """
    samples = dataset.samples
    lengths = samples.lengths
    if samples.supervised and samples.unanswered:
        name = samples.sample(samples.unanswered[0]).id
        raise SampleError(f"sample '{name}' has no supervised token: no assistant turn of it has text")
    if not lengths:
        raise SampleError(
            f"no sample is left: all are longer than max_length {max_length}; raise model.max_length"
        )
    longest = max(range(len(lengths)), key=lengths.__getitem__)
    if samples.supervised and max_length is not None and lengths[longest] > max_length:
        raise SampleError(
            f"sample '{samples.sample(longest).id}' has {lengths[longest]} tokens, more than max_length {max_length}: it "
            "could lose its answer; raise model.max_length, use fewer visual tokens, or set data.drop_too_long"
        )
    return len(lengths), sum(lengths)


def describe_reasoning(stage: Stage, dataset: StageDataset, *, thinking: bool) -> tuple[str, bool]:
    """What becomes of the reasoning in a stage's answers, and whether that may not be what was meant."""
    if stage.objective not in ("lm", "dpo"):
        return "", False
    last, earlier = dataset.samples.count_reasoning()
    said = reasoning_note(last, earlier, len(dataset.samples), thinking=thinking)
    return said, bool(said) and (earlier > 0 or thinking != (last > 0))


def label_names(dataset: StageDataset) -> list[str]:
    """Every label that some study has, sorted."""
    return sorted({name for index in range(len(dataset)) for name in dataset.samples.sample(index).labels})


@dataclass(frozen=True)
class Collate:
    """Makes the batches of one objective, with what the host needs to know in its own memory.

    A device is not waited for while it computes a step: the visual table and slice positions stay with the host, and
    supervised tokens are given by index.
    """

    processor: MedMVLProcessor
    objective: str
    labels: Sequence[str] = ()
    """Names, for `classification`."""
    packed: bool = False
    """The samples of a micro batch follow one another in one row without padding; a common beginning comes once."""
    masked: bool = True
    """The LLM needs a mask to leave padding out."""

    def __call__(self, items: Sequence[Item]) -> Batch:
        """A batch as the objective's `forward` takes it."""
        samples = [item.processed for item in items]
        batch = dict(pack(samples) if self.packed else self.processor.collate(samples))
        if "visual_table" in batch:
            batch["visual_table"] = batch["visual_table"].tolist()
        if "volume_positions_mm" in batch:
            known = batch["volume_positions_mm"]
            batch["volume_positions_mm"] = [
                None if bool(where.isnan().any()) else tuple(where.tolist()) for where in known
            ]
        if self.objective == "lm":
            batch["supervised_positions"] = supervised_positions(batch["labels"])
            if not self.masked:
                batch.pop("attention_mask", None)
        return batch | self._labels(items)

    def _labels(self, items: Sequence[Item]) -> Batch:
        """What other objectives than `lm` learn."""
        if self.objective == "classification":
            known = [[item.sample.labels.get(name, IGNORED_LABEL) for name in self.labels] for item in items]
            return {"labels": torch.tensor(known, dtype=torch.float32)}
        if self.objective not in ("contrastive", "answer_alignment"):
            return {}
        encoded = self.processor.tokenizer(
            [item.sample.messages[-1].text for item in items],
            return_tensors="pt",
            padding=True,
            add_special_tokens=False,
        )
        texts = {"text_ids": encoded["input_ids"], "text_mask": encoded["attention_mask"]}
        return {"labels": torch.ones(len(items), dtype=torch.long), **texts}

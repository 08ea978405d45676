"""Samples made from other samples at the moment they are asked for: some of them, without images, or as a task asks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from medmvl.schema import Sample
from medmvl.tasks import Benchmark


class SampleView(Sequence[Sample]):
    """Samples made from others; each class of views says how one of them is made."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        chosen = range(len(self))[index]
        return self.make(chosen) if isinstance(chosen, int) else [self.make(number) for number in chosen]

    @abstractmethod
    def make(self, index: int) -> Sample:
        """The sample at an index from 0 on."""


class SampleSubset(SampleView):
    """Some samples of a file, in its order."""

    def __init__(self, samples: Sequence[Sample], indices: Sequence[int]) -> None:
        super().__init__(samples)
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def make(self, index: int) -> Sample:
        """The sample that is chosen at this place."""
        return self.samples[self.indices[index]]


class NoImageSamples(SampleView):
    """Samples without their images and volumes."""

    def make(self, index: int) -> Sample:
        """The sample as text alone."""
        return self.samples[index].to_no_image()


def file_of(samples: Sequence[Sample]) -> Sequence[Sample]:
    """What samples are chosen from, or shown without images from; anything else as it is."""
    while isinstance(samples, SampleSubset | NoImageSamples):
        samples = samples.samples
    return samples


class PromptedSamples(SampleView):
    """Samples with their questions put as a task puts them."""

    def __init__(self, samples: Sequence[Sample], task: Benchmark) -> None:
        super().__init__(samples)
        self.task = task

    def make(self, index: int) -> Sample:
        """The sample with the task's prompt."""
        return self.task.ask(self.samples[index])

"""SampleDataset: samples of all sources by one index, each turned into tokens and pixels by the processor.

A sample that cannot be learned from is an error that names it. With `drop_too_long` the data set leaves out, counts and
lists what is too long.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from medmvl.data.feature_cache import FeatureReader
from medmvl.data.memory import VisualMemory
from medmvl.data.prepared import PreparedCache, process_block
from medmvl.data.sample_facts import SampleFacts, facts_of
from medmvl.data.sources import LoadedSource
from medmvl.errors import SampleError, UserError
from medmvl.messages import first_of
from medmvl.models.visuals import ProcessedSample, ProcessedVisual, VisualLoader
from medmvl.schema import Sample

if TYPE_CHECKING:
    from medmvl.models.processing import MedMVLProcessor

logger = logging.getLogger(__name__)
LISTED = 10


class SampleDataset(Dataset[ProcessedSample]):
    """Processed samples of one or several sources.

    Args:
        sources: in the order of the index.
        processor: a `MedMVLProcessor`.
        supervised: whether labels are made; a sample without an answer is an error then.
        max_length: the longest sequence allowed, text and visual tokens together; None for any.
        drop_too_long: leave out samples that are longer, after counting and listing them.
        memory_bytes: processed images and volumes kept in each process; 0 keeps none.
        prepared: a cache of processed scans on disk, or None.
    """

    def __init__(
        self,
        sources: Sequence[LoadedSource],
        processor: MedMVLProcessor,
        *,
        supervised: bool = True,
        max_length: int | None = None,
        drop_too_long: bool = False,
        memory_bytes: int = 256 << 20,
        prepared: PreparedCache | None = None,
    ) -> None:
        if drop_too_long and max_length is None:
            raise UserError("drop_too_long needs a max_length")
        self.sources = tuple(sources)
        self.processor = processor
        self.supervised = supervised
        self.max_length = max_length
        self.memory_bytes = memory_bytes
        self.dropped: list[str] = []
        """Names of the samples that were left out."""
        self.features: FeatureReader | None = None
        """Where features of frozen encoders are looked for before a file is read."""
        self._cache = VisualMemory(memory_bytes)
        self._prepared = prepared
        self._ends = np.cumsum([len(source.samples) for source in self.sources], dtype=np.int64)
        self._kept: NDArray[np.int64] | None = None
        if drop_too_long:
            self._drop()

    def __len__(self) -> int:
        if self._kept is not None:
            return len(self._kept)
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, index: int) -> ProcessedSample:
        """The `ProcessedSample` of a sample.

        Raises:
            SampleError: naming the sample: a file is missing or broken, it has no answer, or it is too long.
        """
        source, sample = self._find(index)
        name = f"{source.name}: sample {sample.id!r}"
        supervised = self.supervised or source.replay
        if supervised and not sample.has_answer:
            raise SampleError(f"{name}: no assistant turn has text, so there is nothing to learn from it")
        try:
            processed = self.processor.prepare(
                sample.messages,
                self._cache.wrap(source.load, self._decoder(source), self._renewed),
                supervised=supervised,
                add_generation_prompt=not supervised,
                name=name,
            )
        except (UserError, OSError) as error:
            message = str(error)
            raise SampleError(message if name in message else f"{name}: {message}") from error
        self._check(processed, name, supervised)
        return processed

    def sample(self, index: int) -> Sample:
        """The sample as its file says it."""
        return self._find(index)[1]

    @property
    def sizes(self) -> list[int]:
        """Samples of each source that are left."""
        ends = self._ends if self._kept is None else np.searchsorted(self._kept, self._ends)
        return [int(size) for size in np.diff(ends, prepend=0)]

    @property
    def weights(self) -> list[float]:
        """Passes over each source per epoch."""
        return [source.weight for source in self.sources]

    @property
    def lengths(self) -> list[int]:
        """Tokens of every sample, text and visual, known without reading pixels."""
        return [int(length) for length in self._kept_of(self._facts.lengths)]

    @property
    def unanswered(self) -> list[int]:
        """Indices of the samples in which no assistant turn has text."""
        return [int(index) for index in np.flatnonzero(~self._kept_of(self._facts.answered))]

    @property
    def study_keys(self) -> list[int]:
        """A number per sample, equal where samples show the same files."""
        return [int(key) for key in self._kept_of(self._facts.keys)]

    @property
    def shards(self) -> list[int]:
        """A number per sample, equal where its files are in one shard; -1 where they are in none."""
        return [int(number) for number in self._kept_of(self._facts.shards)]

    @property
    def num_studies(self) -> int:
        """Different sets of files that the samples show."""
        return len(set(self._kept_of(self._facts.keys)[self._kept_of(self._facts.visual)].tolist()))

    def count_reasoning(self) -> tuple[int, int]:
        """Samples whose last turn brings reasoning, and those in which an earlier one does."""
        facts = self._facts
        return int(self._kept_of(facts.reasoned).sum()), int(self._kept_of(facts.reasoned_before).sum())

    def _kept_of(self, values: NDArray[Any]) -> NDArray[Any]:
        return values if self._kept is None else values[self._kept]

    def _decoder(self, source: LoadedSource) -> VisualLoader:
        decode: VisualLoader = partial(process_block, self.processor, source.load)
        if self._prepared is not None:
            decode = self._prepared.wrap(source.load, self.processor)
        return decode if self.features is None else self.features.wrap(source.load, decode)

    def _renewed(self, visual: ProcessedVisual) -> ProcessedVisual:
        return visual if self.features is None else self.features.renewed(visual)

    def _find(self, index: int) -> tuple[LoadedSource, Sample]:
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return self._at(number if self._kept is None else int(self._kept[number]))

    def _at(self, number: int) -> tuple[LoadedSource, Sample]:
        which = int(np.searchsorted(self._ends, number, side="right"))
        source = self.sources[which]
        return source, source.samples[number - (int(self._ends[which - 1]) if which else 0)]

    @cached_property
    def _facts(self) -> SampleFacts:
        return facts_of(self.sources, self.processor)

    def _drop(self) -> None:
        assert self.max_length is not None
        lengths = self._facts.lengths
        self._kept = np.flatnonzero(lengths <= self.max_length)
        for number in np.flatnonzero(lengths > self.max_length):
            source, sample = self._at(int(number))
            self.dropped.append(f"{source.name}: {sample.id} ({lengths[number]} tokens)")
        if self.dropped:
            listed = first_of(self.dropped, LISTED, separator=", ")
            logger.warning(
                "left out %d of %d samples longer than %d tokens: %s",
                len(self.dropped),
                len(lengths),
                self.max_length,
                listed,
            )

    def _check(self, processed: ProcessedSample, name: str, supervised: bool) -> None:
        length = len(processed.input_ids)
        if self.max_length is not None and length > self.max_length:
            raise SampleError(
                f"{name}: {length} tokens, more than max_length {self.max_length}; cutting it could cut off "
                "its answer. Raise max_length, use fewer visual tokens, or set data.drop_too_long"
            )
        if supervised and processed.num_supervised == 0:
            raise SampleError(f"{name}: no token of it is supervised; is its answer empty?")

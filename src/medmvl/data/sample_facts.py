"""What one pass over the texts of all samples finds out, before the first step and without reading a pixel."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medmvl.data.sources import LoadedSource
from medmvl.datasets.shards import in_shard, shard_numbers
from medmvl.errors import SampleError, UserError
from medmvl.schema import Sample

if TYPE_CHECKING:
    from medmvl.models.processing import MedMVLProcessor


class SampleFacts(NamedTuple):
    """Facts about every sample, in order."""

    lengths: NDArray[np.int32]
    """Tokens, text and visual together."""
    keys: NDArray[np.int64]
    """Equal where samples show the same files; samples without files have each their own."""
    answered: NDArray[np.bool_]
    """True where some assistant turn has text."""
    visual: NDArray[np.bool_]
    """True where the sample shows an image or a volume."""
    reasoned: NDArray[np.bool_]
    """True where the last turn brings reasoning."""
    reasoned_before: NDArray[np.bool_]
    """True where an earlier turn does."""
    shards: NDArray[np.int64]
    """Equal where files are in one shard, -1 where they are in none."""


def facts_of(sources: Sequence[LoadedSource], processor: MedMVLProcessor) -> SampleFacts:
    """Read every sample of the sources once.

    Raises:
        SampleError: a text cannot be tokenised; the message names source and sample.
    """
    total = sum(len(source.samples) for source in sources)
    lengths, keys, flags = (
        np.empty(total, np.int32),
        np.empty(total, np.int64),
        np.empty((4, total), np.bool_),
    )
    files: list[str] = []
    tokens_of = cache(processor.tokens_of)
    for number, (source, sample) in enumerate(_samples(sources)):
        blocks = sample.visuals
        try:
            text, visual = (
                processor.count_text_tokens(sample.messages),
                sum(tokens_of(b.type) for b in blocks),
            )
        except UserError as error:
            raise SampleError(f"{source.name}: sample {sample.id!r}: {error}") from error
        lengths[number] = text + visual
        keys[number] = _key([source.load.reference(block) for block in blocks], number)
        flags[:, number] = sample.has_answer, bool(blocks), sample.has_reasoning, sample.has_earlier_reasoning
        files.append(next((block.path for block in blocks if in_shard(block.path)), ""))
    answered, shows, reasoned, before = flags
    shards = np.array(shard_numbers(files), np.int64)
    return SampleFacts(lengths, keys, answered, shows, reasoned, before, shards)


def _samples(sources: Sequence[LoadedSource]) -> Iterator[tuple[LoadedSource, Sample]]:
    return ((source, sample) for source in sources for sample in source.samples)


def _key(references: Sequence[str], number: int) -> int:
    """A number of the files that a sample shows, or its own where it shows none."""
    text = "\0".join(references) if references else f"text {number}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True)

"""Samples to a batch of one row without padding; a common beginning, such as a scan, comes once.

Questions about one scan begin with the same tokens, and in a causal LLM a beginning does not depend on what follows. So the LLM
reads it once, and each question after it sees it and itself: the same loss and gradients, for a fraction of the tokens.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import BatchFeature

from medmvl.models.causal_attention import PackedGroup
from medmvl.models.collation import Batch, look_alike, visual_inputs
from medmvl.models.visuals import IGNORED_LABEL, ProcessedSample


class Continuation(NamedTuple):
    """What one sample has after the tokens that it shares."""

    input_ids: Tensor
    labels: Tensor
    """-100 where nothing is learned; the first token is predicted by none."""


class SharedBeginning(NamedTuple):
    """Samples with a common beginning."""

    sample: ProcessedSample
    """One that has their beginning, and their visuals."""
    length: int
    """Tokens of it that they share; 0: there is one sample, and nothing is shared."""
    continuations: Sequence[Continuation]

    @property
    def group(self) -> PackedGroup:
        """What attention must know."""
        return PackedGroup(self.length, tuple(len(one.input_ids) for one in self.continuations))


def pack(samples: Sequence[ProcessedSample], *, share: bool = True) -> BatchFeature:
    """Make a batch of one row of labelled samples, each with positions from 0.

    `packed` says where they end and what they share, so that each sees itself only. The first token of a sample is predicted by
    none, as in a row of its own.

    Args:
        samples: conversations with labels.
        share: let samples with the same visuals share what they begin with.
    """
    return packed_row(
        [_beginning(members) for members in (_alike(samples) if share else [[s] for s in samples])]
    )


def packed_row(beginnings: Sequence[SharedBeginning]) -> BatchFeature:
    """Make a batch of one row: each beginning, and what follows it."""
    ids, places, labels = [], [], []
    for sample, length, continuations in beginnings:
        ids += [sample.input_ids[:length], *(one.input_ids for one in continuations)]
        ends = [length + len(one.input_ids) for one in continuations]
        places += [torch.arange(length), *(torch.arange(length, end) for end in ends)]
        labels += [torch.full((length,), IGNORED_LABEL), *(one.labels for one in continuations)]
    groups = [beginning.group for beginning in beginnings]
    offsets = [0, *accumulate(group.total for group in groups[:-1])]
    batch: Batch = {
        "input_ids": torch.cat(ids)[None],
        "position_ids": torch.cat(places)[None],
        "labels": torch.cat(labels)[None],
        "packed": [tuple(group) for group in groups],  # plain: the Trainer rebuilds what it takes for tuples
    }
    samples = [beginning.sample for beginning in beginnings]
    return BatchFeature(batch | visual_inputs(samples, offsets, one_row=True))


def alone(sample: ProcessedSample) -> SharedBeginning:
    """A labelled sample that shares nothing."""
    return _beginning([sample])


def _beginning(samples: Sequence[ProcessedSample]) -> SharedBeginning:
    length = _shared_length(samples) if len(samples) > 1 else 0
    return SharedBeginning(samples[0], length, [_after(sample, length) for sample in samples])


def _after(sample: ProcessedSample, length: int) -> Continuation:
    assert sample.labels is not None, "samples are packed for training only"
    labels = sample.labels[length:].clone()
    labels[:1] = IGNORED_LABEL
    return Continuation(sample.input_ids[length:], labels)


def _shared_length(samples: Sequence[ProcessedSample]) -> int:
    """Number of tokens shared at the beginning; each sample keeps at least one token after it that is not learned."""
    length = min(map(_first_learned, samples)) - 1
    first = samples[0].input_ids[:length]
    for other in samples[1:]:
        differ = (first != other.input_ids[: len(first)]).nonzero()
        first = first[: int(differ[0])] if len(differ) else first
    return len(first)


def _first_learned(sample: ProcessedSample) -> int:
    """Index of the first learned token; the last token's where nothing is learned."""
    assert sample.labels is not None, "samples are packed for training only"
    learned = (sample.labels != IGNORED_LABEL).nonzero()
    return int(learned[0]) if len(learned) else len(sample.labels) - 1


def _alike(samples: Sequence[ProcessedSample]) -> list[list[ProcessedSample]]:
    """The samples, those with the same visuals after the same words together; others alone."""
    found: dict[Hashable, list[ProcessedSample]] = {}
    for number, sample in enumerate(samples):
        key = _visual_key(sample)
        members = found.setdefault(number if key is None else key, [])
        if members and not _same_visuals(members[0], sample):
            found[number] = [sample]
        else:
            members.append(sample)
    return list(found.values())


def _visual_key(sample: ProcessedSample) -> Hashable:
    """Equal where samples have the same tokens up to the end of their visuals; None where they share nothing.

    A visual that is looked at by its question is another for another question.
    """
    if not sample.visuals or any(visual.question_ids is not None for visual in sample.visuals):
        return None
    end = sample.starts[-1] + sample.visuals[-1].num_tokens
    if _first_learned(sample) <= end:
        return None
    fingerprints = tuple((visual.kind, visual.fingerprint) for visual in sample.visuals)
    return (*fingerprints, *sample.starts, sample.input_ids[:end].numpy().tobytes())


def _same_visuals(one: ProcessedSample, other: ProcessedSample) -> bool:
    return all(
        first.pixels.shape == second.pixels.shape and look_alike(first, second)
        for first, second in zip(one.visuals, other.visuals, strict=True)
    )

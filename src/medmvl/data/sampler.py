"""The order of training: a pure function of seed and epoch, the same on every machine and restart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import RecipeError

Group = Literal["none", "length", "study"]
BATCHES_SORTED_TOGETHER = 50
"""Number of batches within which samples are sorted by length; beyond it the order stays random."""
SHARDS_TOGETHER = 4
"""Number of shards whose samples are shuffled together, so that a reader needs no others for a while."""
PER_STUDY = 4
"""Default number of samples of the same files next to each other."""
Indices = NDArray[np.int64]


class Mixture(Protocol):
    """What `epoch_order` needs of a data set; `SampleDataset` has it."""

    @property
    def sizes(self) -> list[int]:
        """Samples of each source."""

    @property
    def weights(self) -> list[float]:
        """Passes over each source per epoch."""

    @property
    def lengths(self) -> list[int]:
        """Tokens of every sample."""

    @property
    def study_keys(self) -> list[int]:
        """A number per sample, equal where the files are the same."""

    @property
    def shards(self) -> list[int]:
        """A number per sample, equal where its files are in one shard; -1 where they are in none."""


def epoch_order(
    mixture: Mixture,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    group: Group = "length",
    per_study: int = PER_STUDY,
) -> list[int]:
    """Return the indices of one epoch; consecutive `batch_size` of them are a batch.

    Args:
        mixture: sizes and weights of the sources, and what the groups are made by.
        seed: seed of the run.
        epoch: counted from 0.
        batch_size: samples per step, over all ranks.
        group: `"length"` puts samples of like length in a batch (less padding), `"study"` samples of the same files side by
            side (their pixels are encoded once), `"none"` neither.
        per_study: with `"study"`, most samples of the same files next to each other, so that a batch still mixes studies.

    Raises:
        RecipeError: for an unknown group.
    """
    if group not in get_args(Group):
        raise RecipeError(f"group '{group}' is unknown; known groups: none, length, study")
    shards = np.asarray(mixture.shards, np.int64)
    order = mixture_order(mixture.sizes, mixture.weights, seed=seed, epoch=epoch, shards=shards)
    generator = _generator(seed, epoch, 1)
    # What is in shards stays near where it was: groups are made within so many batches.
    parts = _chunks(order, batch_size * BATCHES_SORTED_TOGETHER) if (shards >= 0).any() else [order]
    grouped = [_grouped(part, mixture, group, batch_size, per_study, generator) for part in parts]
    return [int(index) for part in grouped for index in part]


def _grouped(
    order: Indices,
    mixture: Mixture,
    group: Group,
    batch_size: int,
    per_study: int,
    generator: np.random.Generator,
) -> Indices:
    if group == "length":
        return _by_length(order, np.asarray(mixture.lengths), batch_size, generator)
    if group == "study":
        return _by_study(order, np.asarray(mixture.study_keys), per_study, generator)
    return order


def mixture_order(
    sizes: Sequence[int], weights: Sequence[float], *, seed: int, epoch: int, shards: Indices | None = None
) -> Indices:
    """Draw an epoch from all sources and shuffle it.

    A source of n samples and weight w gives w * n of them per epoch (rounded so that nothing is lost over
    epochs). It goes through its samples in random order, all of them once before any comes again, and goes
    on where the last epoch ended. A source in shards goes through `SHARDS_TOGETHER` of them at a time, in random order.

    Args:
        sizes: samples of each source.
        weights: passes over each source per epoch.
        seed: seed of the run.
        epoch: counted from 0.
        shards: the shard of every sample, -1 for none; None: no source is in shards.
    """
    offsets = np.cumsum([0, *sizes])
    of_sources = [None if shards is None else shards[start:end] for start, end in pairwise(offsets)]
    of_sources = [None if one is None or (one < 0).any() or not len(one) else one for one in of_sources]
    parts = [
        offset + _take(size, weight, seed, number, epoch, own)
        for number, (offset, size, weight, own) in enumerate(
            zip(offsets, sizes, weights, of_sources, strict=False)
        )
    ]
    order = np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)
    generator = _generator(seed, epoch, 0)
    if all(own is None for own in of_sources):
        return generator.permutation(order)
    turns = generator.permutation(np.repeat(np.arange(len(parts)), [len(part) for part in parts]))
    for number, part in enumerate(parts):  # sources are mixed, each in its own order
        order[turns == number] = part
    return order


def _take(
    size: int, weight: float, seed: int, source: int, epoch: int, shards: Indices | None = None
) -> Indices:
    # Rounding first keeps 0.1 * 3 * 10 from falling below 3.
    first, last = (int(np.floor(round(turn * weight * size, 6))) for turn in (epoch, epoch + 1))
    if first == last:
        return np.empty(0, np.int64)
    turns = range(first // size, (last - 1) // size + 1)
    generators = [_generator(seed, turn, 2, source) for turn in turns]
    shuffled = np.concatenate([_shuffled(size, shards, generator) for generator in generators])
    return shuffled[first - turns[0] * size : last - turns[0] * size]


def _shuffled(size: int, shards: Indices | None, generator: np.random.Generator) -> Indices:
    if shards is None:
        return generator.permutation(size)
    order = generator.permutation(np.unique(shards))
    windows = [np.flatnonzero(np.isin(shards, part)) for part in _chunks(order, SHARDS_TOGETHER)]
    return np.concatenate([generator.permutation(window) for window in windows])


def _by_length(order: Indices, lengths: Indices, batch_size: int, generator: np.random.Generator) -> Indices:
    batches: list[Indices] = []
    for chunk in _chunks(order, batch_size * BATCHES_SORTED_TOGETHER):
        ordered = chunk[np.argsort(-lengths[chunk], kind="stable")]
        batches.extend(_chunks(ordered, batch_size))
    full = [batch for batch in batches if len(batch) == batch_size]
    rest = [batch for batch in batches if len(batch) < batch_size]  # at most one, last: batches stay aligned
    shuffled = [full[index] for index in generator.permutation(len(full))]
    return np.concatenate([np.empty(0, np.int64), *shuffled, *rest])


def _by_study(order: Indices, keys: Indices, per_study: int, generator: np.random.Generator) -> Indices:
    by_key: dict[int, list[int]] = {}
    for index in order:
        by_key.setdefault(int(keys[index]), []).append(int(index))
    runs = [run for members in by_key.values() for run in _chunks(np.array(members, np.int64), per_study)]
    full = [run for run in runs if len(run) == per_study]
    rest = [run for run in runs if len(run) < per_study]
    full = [full[index] for index in generator.permutation(len(full))]
    rest = [rest[index] for index in generator.permutation(len(rest))]
    return np.concatenate([np.empty(0, np.int64), *_interleave(full, rest, per_study, generator)])


def _interleave(
    full: list[Indices], rest: list[Indices], size: int, generator: np.random.Generator
) -> list[Indices]:
    """Pack short runs into rows of `size` and mix them with full runs, so that no run crosses the border of a batch."""
    flat = np.concatenate([np.empty(0, np.int64), *rest])
    rows = [*full, *_chunks(flat, size)]
    tail = [rows.pop()] if rows and len(rows[-1]) < size else []
    return [rows[index] for index in generator.permutation(len(rows))] + tail


def _chunks(values: Indices, size: int) -> Iterator[Indices]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _generator(seed: int, *numbers: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([abs(seed), int(seed < 0), *numbers]))

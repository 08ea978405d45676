"""The order of training: a pure function of seed and epoch, the same on every machine and restart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from medmvl.errors import RecipeError

Group = Literal["none", "length", "study"]
BATCHES_SORTED_TOGETHER = 50
"""Length groups are sought within so many batches, so that the order stays random at large."""
PER_STUDY = 4
"""Samples of the same files next to each other, so that a batch of them encodes the files once and still mixes studies."""
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


def epoch_order(
    mixture: Mixture, *, seed: int, epoch: int, batch_size: int, group: Group = "length"
) -> list[int]:
    """Return the indices of one epoch; consecutive `batch_size` of them are a batch.

    Args:
        mixture: sizes and weights of the sources, and what the groups are made by.
        seed: seed of the run.
        epoch: counted from 0.
        batch_size: over all ranks.
        group: `"length"` puts samples of like length in a batch (less padding), `"study"` up to
            `PER_STUDY` samples of the same files side by side (their pixels are encoded once), `"none"` neither.

    Raises:
        RecipeError: for an unknown group.
    """
    order = mixture_order(mixture.sizes, mixture.weights, seed=seed, epoch=epoch)
    generator = _generator(seed, epoch, 1)
    if group == "length":
        order = _by_length(order, np.asarray(mixture.lengths), batch_size, generator)
    elif group == "study":
        order = _by_study(order, np.asarray(mixture.study_keys), generator)
    elif group != "none":
        raise RecipeError(f"group '{group}' is unknown; known groups: none, length, study")
    return [int(index) for index in order]


def mixture_order(sizes: Sequence[int], weights: Sequence[float], *, seed: int, epoch: int) -> Indices:
    """Draw an epoch from all sources and shuffle it.

    A source of n samples and weight w gives w * n of them an epoch (rounded so that nothing is lost over
    epochs). It goes through its samples in random order, all of them once before any comes again, and goes
    on where the last epoch ended.
    """
    offsets = np.cumsum([0, *sizes])
    parts = [
        offset + _take(size, weight, seed, number, epoch)
        for number, (offset, size, weight) in enumerate(zip(offsets, sizes, weights, strict=False))
    ]
    order = np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)
    return _generator(seed, epoch, 0).permutation(order)


def _take(size: int, weight: float, seed: int, source: int, epoch: int) -> Indices:
    # Rounding first keeps 0.1 * 3 * 10 from falling below 3.
    first, last = (int(np.floor(round(turn * weight * size, 6))) for turn in (epoch, epoch + 1))
    if first == last:
        return np.empty(0, np.int64)
    turns = range(first // size, (last - 1) // size + 1)
    shuffled = np.concatenate([_generator(seed, turn, 2, source).permutation(size) for turn in turns])
    return shuffled[first - turns[0] * size : last - turns[0] * size]


def _by_length(order: Indices, lengths: Indices, batch_size: int, generator: np.random.Generator) -> Indices:
    batches: list[Indices] = []
    for chunk in _chunks(order, batch_size * BATCHES_SORTED_TOGETHER):
        ordered = chunk[np.argsort(-lengths[chunk], kind="stable")]
        batches.extend(_chunks(ordered, batch_size))
    full = [batch for batch in batches if len(batch) == batch_size]
    rest = [batch for batch in batches if len(batch) < batch_size]  # at most one, last: batches stay aligned
    shuffled = [full[index] for index in generator.permutation(len(full))]
    return np.concatenate([np.empty(0, np.int64), *shuffled, *rest])


def _by_study(order: Indices, keys: Indices, generator: np.random.Generator) -> Indices:
    by_key: dict[int, list[int]] = {}
    for index in order:
        by_key.setdefault(int(keys[index]), []).append(int(index))
    runs = [run for members in by_key.values() for run in _chunks(np.array(members, np.int64), PER_STUDY)]
    full = [run for run in runs if len(run) == PER_STUDY]
    rest = [run for run in runs if len(run) < PER_STUDY]
    full = [full[index] for index in generator.permutation(len(full))]
    rest = [rest[index] for index in generator.permutation(len(rest))]
    return np.concatenate([np.empty(0, np.int64), *_interleave(full, rest, generator)])


def _interleave(full: list[Indices], rest: list[Indices], generator: np.random.Generator) -> list[Indices]:
    """Pack short runs into rows of `PER_STUDY` and mix them with full runs, which so never straddle batches."""
    flat = np.concatenate([np.empty(0, np.int64), *rest])
    rows = [*full, *_chunks(flat, PER_STUDY)]
    tail = [rows.pop()] if rows and len(rows[-1]) < PER_STUDY else []
    return [rows[index] for index in generator.permutation(len(rows))] + tail


def _chunks(values: Indices, size: int) -> Iterator[Indices]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _generator(seed: int, *numbers: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([abs(seed), int(seed < 0), *numbers]))

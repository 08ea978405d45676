"""The order of an epoch: deterministic, as weighted, nothing lost, groups side by side."""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmvl.data.sampler import Group, epoch_order, mixture_order
from medmvl.errors import RecipeError

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=4)
WEIGHTS = st.sampled_from([0.1, 0.3, 0.5, 1.0, 1.7, 2.0, 3.0])
GROUPS: tuple[Group, ...] = ("none", "length", "study")


@dataclass
class Data:
    """What the sampler looks at."""

    sizes: list[int]
    weights: list[float]
    lengths: list[int]
    study_keys: list[int]
    shards: list[int]


def data(sizes: list[int], weights: list[float] | None = None, per_study: int = 4) -> Data:
    total = sum(sizes)
    lengths = np.random.default_rng(0).integers(5, 500, total)
    return Data(
        sizes,
        weights or [1.0] * len(sizes),
        list(lengths),
        [n // per_study for n in range(total)],
        [-1] * total,
    )


@given(SIZES, st.data(), st.integers(0, 2**31), st.integers(0, 20), st.sampled_from(GROUPS))
def test_the_order_is_a_function_of_seed_and_epoch(
    sizes: list[int], more: st.DataObject, seed: int, epoch: int, group: Group
) -> None:
    weights = [more.draw(WEIGHTS) for _ in sizes]
    mixture = data(sizes, weights)
    first = epoch_order(mixture, seed=seed, epoch=epoch, batch_size=4, group=group)
    assert first == epoch_order(mixture, seed=seed, epoch=epoch, batch_size=4, group=group)
    drawn = mixture_order(sizes, weights, seed=seed, epoch=epoch)
    assert Counter(first) == Counter(int(index) for index in drawn)


@given(SIZES, st.data(), st.integers(0, 2**31))
def test_over_epochs_every_sample_is_seen_as_often_as_its_weight_says(
    sizes: list[int], more: st.DataObject, seed: int
) -> None:
    weights = [more.draw(WEIGHTS) for _ in sizes]
    epochs = 10
    orders = [mixture_order(sizes, weights, seed=seed, epoch=e) for e in range(epochs)]
    seen = Counter(int(index) for order in orders for index in order)
    start = 0
    for size, weight in zip(sizes, weights, strict=True):
        counts = [seen[index] for index in range(start, start + size)]
        assert sum(counts) == round(epochs * weight * size)
        assert max(counts) - min(counts) <= 1
        start += size


def test_epochs_and_seeds_differ() -> None:
    orders = [tuple(mixture_order([50], [1.0], seed=s, epoch=e)) for s in (0, 1) for e in (0, 1)]
    assert len(set(orders)) == 4
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_batches_hold_samples_of_like_length() -> None:
    mixture = data([403])
    for group, expected in (("length", 40.0), ("none", 250.0)):
        order = epoch_order(mixture, seed=0, epoch=0, batch_size=8, group=group)  # type: ignore[arg-type]
        batches = [order[start : start + 8] for start in range(0, len(order), 8)]
        spreads = [np.ptp([mixture.lengths[i] for i in batch]) for batch in batches]
        assert (np.mean(spreads) < expected) == (group == "length")
    starts = [
        mixture.lengths[order[0]]
        for order in [epoch_order(mixture, seed=0, epoch=e, batch_size=8) for e in range(8)]
    ]
    assert len(set(starts)) > 4  # not always the longest first


def test_questions_about_one_study_share_a_batch() -> None:
    mixture = data([40, 41], per_study=6)
    order = epoch_order(mixture, seed=3, epoch=1, batch_size=8, group="study")
    batches = [order[start : start + 8] for start in range(0, len(order), 8)]
    encodings = sum(len({mixture.study_keys[i] for i in batch}) for batch in batches)
    shuffled = epoch_order(mixture, seed=3, epoch=1, batch_size=8, group="none")
    naive = sum(len({mixture.study_keys[i] for i in shuffled[s : s + 8]}) for s in range(0, len(order), 8))
    assert encodings < 0.6 * naive


def test_an_unknown_group_is_an_error() -> None:
    with pytest.raises(RecipeError, match="known groups: none, length, study"):
        epoch_order(data([3]), seed=0, epoch=0, batch_size=1, group="size")  # type: ignore[arg-type]

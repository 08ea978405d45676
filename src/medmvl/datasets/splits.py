"""Splits that never divide a patient: what shares a patient, a study, an image group or a file stays together.

The groups are the connected components of those ties, so a chain of shared files joins patients, too, and
the English and the Chinese questions about one image never part (in SLAKE's own splits, 142 of 180 test
images are also trained on).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np

from medmvl.errors import UserError
from medmvl.schema import ImageBlock, Sample, VolumeBlock

Reference = Callable[[ImageBlock | VolumeBlock], str]
SPLIT_NAMES = ("train", "validation", "test")


def parse_fractions(text: str) -> dict[str, float]:
    """Read `0.8,0.1,0.1` as shares of train, validation and test.

    Raises:
        UserError: where they are not one to three numbers from 0 to 1 that sum to 1.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not 1 <= len(values) <= 3 or min(values, default=-1) < 0 or abs(sum(values) - 1) > 1e-6:
        raise UserError(
            f"split '{text}': expected shares of train, validation and test that sum to 1, as 0.8,0.1,0.1"
        )
    return {name: value for name, value in zip(SPLIT_NAMES, values, strict=False) if value > 0}


def ties_of(sample: Sample, reference: Reference) -> list[tuple[str, Hashable]]:
    """Everything that ties a sample to others."""
    names = (("patient", sample.patient), ("study", sample.study), ("image_group", sample.image_group))
    ties: list[tuple[str, Hashable]] = [(name, value) for name, value in names if value is not None]
    return ties + [("file", reference(block).partition("#")[0]) for block in sample.visuals]


def patient_groups(samples: Iterable[Sample], reference: Reference = lambda block: block.path) -> list[int]:
    """Return a group number per sample; samples of different groups share nothing.

    Args:
        samples: all samples of a data set.
        reference: says which file a block means; equal texts are the same file.
    """
    parents: list[int] = []
    owner: dict[tuple[str, Hashable], int] = {}
    for number, sample in enumerate(samples):
        parents.append(number)
        for tie in ties_of(sample, reference):
            other = _root(parents, owner.setdefault(tie, number))
            mine = _root(parents, number)
            parents[max(other, mine)] = min(other, mine)
    return [_root(parents, number) for number in range(len(parents))]


def split_groups(groups: Sequence[int], fractions: Mapping[str, float], seed: int) -> dict[str, list[int]]:
    """Deal whole groups out to the splits, close to the wanted shares of samples.

    Returns:
        Indices of the samples of each split, in order.

    Raises:
        UserError: where there are fewer groups than splits.
    """
    members: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    if len(members) < len(fractions):
        raise UserError(
            f"{len(members)} groups of patients cannot fill {len(fractions)} splits: samples that share a patient, study "
            "or file stay together; ask for fewer splits or bring more patients"
        )
    order = list(members.values())
    order = [order[index] for index in np.random.Generator(np.random.PCG64(seed)).permutation(len(order))]
    parts: dict[str, list[int]] = {name: [] for name in fractions}
    for part, first in zip(parts.values(), sorted(order[: len(parts)], key=len, reverse=True), strict=True):
        part.extend(first)  # no split stays empty
    for following in order[len(parts) :]:
        wanted = max(parts, key=lambda name: fractions[name] * len(groups) - len(parts[name]))
        parts[wanted].extend(following)
    return {name: sorted(part) for name, part in parts.items()}


def given_splits(samples: Sequence[Sample], given: Sequence[str | None]) -> dict[str, list[int]]:
    """The indices of each split where the data says the split of every sample.

    Raises:
        UserError: what shares a patient, a study or a file is in two of them.
    """
    parts: dict[str, list[int]] = {}
    where: dict[tuple[str, Hashable], str] = {}
    divided: set[tuple[str, Hashable]] = set()
    for index, (sample, name) in enumerate(zip(samples, given, strict=True)):
        assert name is not None, "a given split is given for every sample"
        parts.setdefault(name, []).append(index)
        divided |= {
            tie for tie in ties_of(sample, lambda block: block.path) if where.setdefault(tie, name) != name
        }
    if divided:
        counts = Counter(what for what, _ in divided)
        shown = ", ".join(f"{what}: {count}" for what, count in sorted(counts.items()))
        raise UserError(
            f"the column of splits divides what must stay together ({shown}): a patient, a study or a file is in two splits; "
            "correct it, or leave the column out and let --split deal"
        )
    return {name: parts[name] for name in SPLIT_NAMES if name in parts}


def split_samples(
    samples: Sequence[Sample],
    fractions: Mapping[str, float],
    seed: int,
) -> dict[str, list[int]]:
    """Group and deal out in one step; see `patient_groups` and `split_groups`."""
    return split_groups(patient_groups(samples), fractions, seed)


def _root(parents: list[int], number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number

"""Splits never divide what belongs together, however it is tied."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.datasets.splits import parse_fractions, patient_groups, split_samples, ties_of
from medmvl.errors import UserError
from medmvl.schema import ImageBlock, Sample, VolumeBlock
from tests.factories.data import sample

FRACTIONS = {"train": 0.8, "validation": 0.1, "test": 0.1}
NAME = st.none() | st.integers(0, 25).map(str)


def path(block: ImageBlock | VolumeBlock) -> str:
    return block.path


@st.composite
def overlapping(draw: st.DrawFn) -> list[Sample]:
    """Samples tied to each other at random: by patient, study, group and file."""
    made = []
    for number in range(draw(st.integers(3, 40))):
        file = draw(NAME)
        visual = None if file is None else {"type": "image", "image": f"{file}.png"}
        who = {"patient": draw(NAME), "study": draw(NAME), "image_group": draw(NAME)}
        made.append(sample(number, visual, language=draw(st.sampled_from(["en", "zh"])), **who))
    return made


@settings(max_examples=60)
@given(overlapping(), st.integers(0, 5))
def test_no_tie_is_cut(samples: list[Sample], seed: int) -> None:
    try:
        parts = split_samples(samples, FRACTIONS, seed)
    except UserError:
        assert len(set(patient_groups(samples))) < 3
        return
    owner = {}
    for name, indices in parts.items():
        assert indices, "an empty split"
        for index in indices:
            for tie in ties_of(samples[index], path):
                assert owner.setdefault(tie, name) == name
    assert sorted(index for part in parts.values() for index in part) == list(range(len(samples)))
    assert split_samples(samples, FRACTIONS, seed) == parts


def test_ties_chain() -> None:
    image = {"type": "image", "image": "shared.png"}
    chain = [
        sample(0, image, patient="a"),
        sample(1, image, study="s"),
        sample(2, study="s", image_group="g"),
    ]
    groups = patient_groups([*chain, sample(3, patient="b"), sample(4, image_group="g"), sample(5)])
    assert groups == [0, 0, 0, 3, 0, 5]


def test_frames_of_one_file_stay_together() -> None:
    blocks = [{"type": "image", "image": f"cine.dcm#frame={n}"} for n in (1, 2)]
    assert len(set(patient_groups([sample(n, block) for n, block in enumerate(blocks)]))) == 1


def test_shares_are_met_and_seeds_differ() -> None:
    samples = [sample(number, patient=str(number // 4)) for number in range(400)]
    parts = split_samples(samples, FRACTIONS, 0)
    assert [len(part) for part in parts.values()] == [320, 40, 40]
    assert parts != split_samples(samples, FRACTIONS, 1)


def test_too_few_patients_is_an_error() -> None:
    with pytest.raises(UserError, match="1 groups of patients cannot fill 3 splits"):
        split_samples([sample(n, patient="only") for n in range(9)], FRACTIONS, 0)


def test_fractions() -> None:
    assert parse_fractions("0.8,0,0.2") == {"train": 0.8, "test": 0.2}
    for text in ("0.8,0.1", "1,-1,1", "a", "", "0.25,0.25,0.25,0.25"):
        with pytest.raises(UserError, match="expected shares"):
            parse_fractions(text)

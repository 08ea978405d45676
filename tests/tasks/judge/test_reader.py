"""The reader agrees with what a sentence claims: answers are built from claims whose truth is known."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.tasks.judge import read_answer, read_record
from medmvl.tasks.judge.lexicon import lexicon
from medmvl.tasks.metrics.record import Record

lexicon()  # read once, outside of the timed examples
SIDES = {"left": ("left", "left-sided", "左侧"), "right": ("right", "right-sided", "右侧")}
LOBES = ("right upper lobe", "right middle lobe", "right lower lobe", "left upper lobe", "left lower lobe")
SHORT = {
    "right upper lobe": "RUL",
    "right middle lobe": "RML",
    "right lower lobe": "RLL",
    "left upper lobe": "LUL",
    "left lower lobe": "LLL",
}
CHINESE = {
    "right upper lobe": "右肺上叶",
    "right middle lobe": "右肺中叶",
    "right lower lobe": "右肺下叶",
    "left upper lobe": "左肺上叶",
    "left lower lobe": "左肺下叶",
}
FRAMES = (
    "{}",
    "In the {}.",
    "The nodule is located in the {}.",
    "It is seen in the {}",
    "<think>perhaps elsewhere</think>The {}.",
    "**{}**",
)
FINDINGS = ("nodule", "pleural effusion", "pneumothorax", "consolidation", "pericardial effusion", "fracture")
AFFIRMED = (
    "Yes.",
    "Yes, there is {}.",
    "There is {}.",
    "{} is present",
    "{} cannot be excluded",
    "是",
    "可见",
)
DENIED = (
    "No.",
    "There is no {}.",
    "No evidence of {}",
    "{} is not seen",
    "without {}",
    "Negative",
    "absent",
    "Not detected.",
    "否",
    "未见",
    "没有",
    "No, {} was not detected.",
)
ORGANS = (
    "liver",
    "spleen",
    "pancreas",
    "gallbladder",
    "stomach",
    "thyroid",
    "esophagus",
    "sternum",
    "trachea",
)
UNITS = {"mm": 1.0, "cm": 10.0, "millimeters": 1.0, "毫米": 1.0, "厘米": 10.0}


def verdict(question: str, answer: str, reference: str) -> str:
    return read_answer(question, answer, reference).verdict


@given(st.sampled_from(LOBES), st.sampled_from(LOBES), st.sampled_from(FRAMES), st.sampled_from(FRAMES))
def test_a_lobe_is_right_where_it_is_the_lobe(true: str, said: str, frame: str, told: str) -> None:
    expected = "right" if true == said else "wrong"
    assert verdict("Where is the nodule?", frame.format(said), told.format(true)) == expected
    assert verdict("Where is the nodule?", SHORT[said], true) == expected
    assert verdict("结节位于哪里？", CHINESE[said], CHINESE[true]) == expected


@given(st.permutations(LOBES), st.integers(2, 5))
def test_naming_several_lobes_for_one_is_not_right(order: list[str], count: int) -> None:
    assert verdict("Where is the nodule?", ", ".join(order[:count]), order[0]) != "right"


@given(st.permutations(("left upper", "left lower", "right upper", "right lower")), st.booleans())
def test_sides_and_levels_stay_together(places: list[str], exchanged: bool) -> None:
    one, other = places[:2]
    answer = f"{other} lobe and {one} lobe"
    if exchanged:
        sides, levels = (one.split()[0], other.split()[0]), (one.split()[1], other.split()[1])
        answer = f"{sides[0]} {levels[1]} lobe and {sides[1]} {levels[0]} lobe"
    differs = exchanged and one.split()[0] != other.split()[0] and one.split()[1] != other.split()[1]
    found = verdict("Where are the nodules?", answer, f"In the {one} lobe and the {other} lobe.")
    assert (found == "right") == (not differs)


@given(st.sampled_from(FINDINGS), st.booleans(), st.booleans(), st.data())
def test_polarity_in_every_wording(finding: str, true: bool, said: bool, data: st.DataObject) -> None:
    answer = data.draw(st.sampled_from(AFFIRMED if said else DENIED)).format(finding)
    reference = data.draw(st.sampled_from(AFFIRMED if true else DENIED)).format(finding)
    question = data.draw(
        st.sampled_from((f"Is there any {finding}?", f"Was a {finding} detected in the scan?"))
    )
    assert (verdict(question, answer, reference) == "right") == (true == said), (question, answer, reference)


@given(st.sampled_from(("left", "right")), st.sampled_from(("left", "right", "both")), st.data())
def test_sides(true: str, said: str, data: st.DataObject) -> None:
    words = SIDES.get(said, ("bilateral", "both sides", "left and right", "双侧"))
    answer, reference = data.draw(st.sampled_from(words)), data.draw(st.sampled_from(SIDES[true]))
    assert (verdict("On which side is the effusion?", answer, reference) == "right") == (true == said)


@given(st.sampled_from(ORGANS), st.sampled_from(ORGANS))
def test_organs(true: str, said: str) -> None:
    assert (verdict("Which organ has the lesion?", f"the {said}", f"In the {true}.") == "right") == (
        true == said
    )


@given(
    st.integers(1, 80),
    st.integers(1, 80),
    st.sampled_from(sorted(UNITS)),
    st.sampled_from(sorted(UNITS)),
    st.sampled_from(("", "<", ">")),
    st.sampled_from(("", "<", ">")),
)
def test_numbers_with_units_and_bounds(
    one: int, other: int, unit: str, another: str, sign: str, bound: str
) -> None:
    wanted, given_ = one * UNITS[unit], other * UNITS[another]
    near = abs(wanted - given_) <= 0.1 * max(wanted, given_)
    inside = {"<": given_ > wanted, ">": given_ < wanted}
    outside = {"<": wanted > given_, ">": wanted < given_}
    same = near if sign == bound else (False if sign and bound else inside.get(bound, outside.get(sign)))
    found = verdict("What is the size of the nodule?", f"{bound}{other} {another}", f"{sign}{one} {unit}")
    assert (found == "right") == same


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
@settings(deadline=None)
def test_any_text_is_read(question: str, answer: str, reference: str) -> None:
    reading = read_answer(question, answer, reference)
    assert 0.0 <= reading.score <= 1.0 and reading.verdict in ("right", "partly", "wrong") and reading.why


@pytest.mark.parametrize(
    ("question", "reference", "answer", "expected"),
    [
        ("Is it on the left or on the right?", "On the left.", "Left", "right"),
        ("What is its nature?", "malignant", "Not malignant", "not right"),
        ("What is its nature?", "malignant", "benign", "not right"),
        ("What is it?", "an unheard-of thing", "no unheard-of thing", "not right"),
        ("Is it on the left or on the right?", "On the left.", "Both", "not right"),
        ("Is the lesion solid or cystic?", "Solid", "It is a solid lesion.", "right"),
        ("Is the lesion solid or cystic?", "Solid", "cystic", "not right"),
        ("Is there effusion?", "Yes, on the left.", "Yes", "right"),
        ("Is there effusion?", "Yes, on the left.", "Yes, on the right", "not right"),
        ("Is there effusion, and if so, where?", "Yes, on the left.", "Yes", "not right"),
        ("Is there effusion?", "No effusion was seen.", "The pleura is normal.", "right"),
        ("Is the heart normal?", "Yes", "normal", "right"),
        ("Is the heart normal?", "Yes", "abnormal", "not right"),
        ("Where is the nodule in the left lung?", "In the left lower lobe.", "lower lobe", "right"),
        ("Where is the nodule in the left lung?", "In the left lower lobe.", "left lung", "not right"),
        ("Where is the nodule?", "In the lingula.", "left upper lobe", "right or partly"),
        (
            "Where is the nodule?",
            "In the left lower lobe.",
            "posterobasal segment of the left lower lobe",
            "right or partly",
        ),
        ("Where is the nodule?", "Subpleural", "hilar", "not right"),
        ("Where is the plaque?", "In the coronary arteries.", "LAD", "partly"),
        ("Which lobe?", "Right middle lobe", "All of the above", "not right"),
        ("Which lobe?", "Right middle lobe", "Cannot be determined", "not right"),
        ("Which lobe?", "Right middle lobe", "", "not right"),
        ("Which segment of the liver?", "Segment 8", "Segment VIII", "right"),
        ("Which vertebra is fractured?", "T12", "L1", "not right"),
        ("What is the density?", "-40 HU", "40 HU", "not right"),
        ("How many nodules are there?", "Two", "2", "right"),
        ("How many nodules are there?", "Multiple", "several", "right"),
        ("How severe is it?", "Mild", "minimal", "right"),
        ("How severe is it?", "Mild", "severe", "not right"),
        ("What is seen?", "Nodule and effusion", "effusion, nodule", "right"),
        ("What is seen?", "Nodule and effusion", "nodule", "not right"),
        ("What is seen?", "Ground-glass opacity", "GGO", "right"),
        ("有无胸腔积液？", "未见胸腔积液", "没有", "right"),
        ("是否有肺炎？", "是", "肺炎不除外", "right"),
        ("是否有肺炎？", "否", "肺炎不除外", "not right"),
        ("肺是否正常？", "是", "正常", "right"),
        ("哪侧有胸腔积液？", "双侧", "左右两侧", "right"),
        ("结节多大？", "5毫米", "0.5厘米", "right"),
        ("积液程度？", "少量", "大量", "not right"),
        ("病变在肺的哪个部位？", "胸膜下", "肺门", "not right"),
    ],
)
def test_readings(question: str, reference: str, answer: str, expected: str) -> None:
    found = verdict(question, answer, reference)
    assert {"not right": found != "right", "right or partly": found != "wrong"}.get(
        expected, found == expected
    )


def test_it_says_why() -> None:
    assert read_answer("On which side?", "right", "left").why == "side: right against left"
    assert "polarity: yes against no" in read_answer("Is there a mass?", "Yes", "No").why


def test_records_with_choices_go_by_the_choice_and_several_references_are_alternatives() -> None:
    options = {"choices": ("Nodule", "Mass"), "question_type": "choice", "question": "What is it?"}
    assert read_record(Record("r", "B", ("Mass",), **options)).verdict == "right"  # type: ignore[arg-type]
    assert read_record(Record("r", "not a mass", ("Mass",), **options)).verdict == "wrong"  # type: ignore[arg-type]
    open_ = Record("r", "In the liver", ("kidney", "liver"), question="Where is the cyst?")
    assert read_record(open_).verdict == "right"


@pytest.mark.skipif("MEDMVL_TEST_DATA" not in os.environ, reason="needs answers with verdicts")
@pytest.mark.parametrize("model", ["m3d", "med3dvlm"])
def test_it_agrees_with_the_jury_of_public_answers(model: str) -> None:
    import gzip
    import json

    path = Path(os.environ["MEDMVL_TEST_DATA"]) / "ct_spatialvqa" / f"{model}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = [json.loads(line) for number, line in enumerate(file) if number % 6 == 0]
    same = []
    for line in lines:
        votes = [vote for vote in line["verdicts"].values() if vote is not None]
        if 2 * sum(votes) != len(votes):
            said = read_answer(line["question"], line["prediction"], line["answer"]).verdict == "right"
            same.append(said == (2 * sum(votes) > len(votes)))
    assert len(same) > 1000 and sum(same) / len(same) > 0.91


@pytest.mark.parametrize(
    ("answer", "reference", "right"),
    [
        ("ER positive", "ER+", True),
        ("ER negative", "ER+", False),
        ("ER(-)", "ER negative", True),
        ("HER2 positive", "HER2-", False),
        ("HER2+", "HER2-", False),
        ("HER2阴性", "HER2(-)", True),
    ],
)
def test_a_sign_is_a_result_in_words(answer: str, reference: str, right: bool) -> None:
    assert (read_answer("What is the receptor status?", answer, reference).verdict == "right") is right


@pytest.mark.parametrize(
    ("question", "answer", "reference", "right"),
    [
        ("Is the heart size normal?", "cardiomegaly", "no", True),
        ("Is the heart size normal?", "cardiomegaly", "yes", False),
        ("Is the heart size normal?", "no cardiomegaly", "yes", True),
        ("心脏大小正常吗？", "心影增大", "否", True),
        ("How many nodules are there?", "3 nodules in two lobes", "2", False),
        ("How many nodules are there?", "3 nodules in two lobes", "3", True),
        ("结节有几个？", "三个", "3个", True),
        ("结节有几个？", "两枚", "2", True),
        ("What modality?", "computed tomography", "CT", True),
        ("What modality?", "MRI", "CT", False),
    ],
)
def test_what_is_said_in_other_words(question: str, answer: str, reference: str, right: bool) -> None:
    assert (read_answer(question, answer, reference).verdict == "right") is right

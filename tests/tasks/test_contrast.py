"""Sides and lobes that an answer sets against each other: what is called normal is not what was asked for."""

import pytest

from medmvl.tasks.answers import find_choice
from medmvl.tasks.judge import read_answer, read_record
from medmvl.tasks.judge.strict import judge_record
from medmvl.tasks.metrics.record import Record

LOBES = ("right upper lobe", "right middle lobe", "right lower lobe", "left upper lobe", "left lower lobe")
SAID_OF_A_SIDE = [
    ("the right one is normal, the left is not", "left"),
    ("The left one is normal; the right one is not.", "right"),
    ("Unremarkable on the right, effusion on the left", "left"),
    ("No effusion on the left but one on the right", "right"),
    ("effusion on the left, none on the right", "left"),
    ("None on the right; on the left there is one.", "left"),
    ("The right is clear and the left shows fluid.", "left"),
    ("normal right lung, left effusion", "left"),
    ("Normal on the right. Fluid on the left.", "left"),
    ("the right lung looks healthy while the left has an effusion", "left"),
    ("The left side is affected, the right side is spared.", "left"),
    ("left, with sparing of the right lung", "left"),
    ("The left has an effusion, the right does not.", "left"),
    ("The right does not have an effusion, the left does.", "left"),
    ("The right is not normal, the left is.", "right"),
    ("The left is abnormal, the right is normal", "left"),
    ("the left costophrenic angle is blunted, the right is sharp", "left"),
    ("The left is normal, the other side has an effusion.", "right"),
    ("Left. The other side is clear.", "left"),
    ("not on the left but on the other side", "right"),
    ("the right lung is normal; the opposite side shows fluid", "left"),
    ("Of the left and right lung, the latter is affected", "right"),
    ("Comparing left and right, the former is normal and the latter is not.", "right"),
    ("The right lung is normal.", None),
    ("left and right are both normal", None),
    ("Neither the left nor the right", None),
    ("left and right lungs are normal", None),
    ("The left is normal and so is the right.", None),
    ("effusion on the left and on the right", None),
    ("Right: normal. Left: effusion.", "left"),
    ("Left effusion with shift to the opposite side", "left"),
    ("Only the left; nothing on the right", "left"),
    ("There is no effusion on the right. The left, however, has a large one.", "left"),
    ("On the right, normal; on the left, fluid.", "left"),
    ("Whereas the right is unremarkable, the left is not.", "left"),
    ("the left isn't normal", "left"),
    ("The right is free of fluid, the left is not.", "left"),
    ("The right lung is not clear; the left is clear.", "right"),
    ("the right is within normal limits, not the left", "left"),
    ("The right is normal, as is the left.", None),
    ("Although the left is normal, the right contains fluid", "right"),
]
SAID_IN_CHINESE = [
    ("右侧正常，左侧积液", "左侧"),
    ("右侧正常，左侧不正常", "左侧"),
    ("右侧正常，左侧异常。", "左侧"),
    ("左侧积液，右侧未见异常", "左侧"),
    ("右侧未见积液，左侧可见积液", "左侧"),
    ("右侧没有，左侧有", "左侧"),
    ("左侧有，右侧没有", "左侧"),
    ("左侧清晰，右侧有积液", "右侧"),
    ("右侧正常，左侧则不然", "左侧"),
    ("左侧正常，对侧积液", "右侧"),
    ("左侧积液，对侧正常", "左侧"),
    ("不在左侧，在另一侧", "右侧"),
    ("右侧无异常，但左侧有积液", "左侧"),
    ("右侧正常而左侧积液", "左侧"),
    ("右侧正常", None),
    ("左侧和右侧均正常", None),
    ("左侧正常，右侧也正常", None),
    ("右侧正常，左侧不是", "左侧"),
    ("未见异常的是右侧，左侧积液", "左侧"),
    ("左侧不正常", "左侧"),
]


@pytest.mark.parametrize(("answer", "side"), SAID_OF_A_SIDE)
def test_a_side_called_normal_is_not_named(answer: str, side: str | None) -> None:
    assert find_choice(answer, ("left", "right")) == side
    question = "On which side is the effusion?"
    for reference in ("left", "right"):
        found = read_answer(question, answer, reference).verdict
        assert found != ("wrong" if reference == side else "right"), reference


@pytest.mark.parametrize(("answer", "side"), SAID_IN_CHINESE)
def test_a_side_called_normal_is_not_named_in_chinese(answer: str, side: str | None) -> None:
    assert find_choice(answer, ("左侧", "右侧")) == side
    for reference in ("左侧", "右侧"):
        assert (read_answer("积液在哪一侧？", answer, reference).verdict == "right") == (reference == side)


@pytest.mark.parametrize(
    ("answer", "place"),
    [
        ("left lower lobe nodule, right upper lobe normal", 4),
        ("The right upper lobe is normal, the left lower lobe is not.", 4),
        ("The right upper lobe is unremarkable; nodule in the RML", 1),
        ("nothing in the left upper lobe, nodule in the left lower lobe", 4),
        ("The left upper lobe is clear, as is the lingula; the right lower lobe has it.", 2),
        ("upper lobe of the right lung is spared, middle lobe is involved", 1),
        ("左肺上叶结节，右肺下叶未见异常", 3),
        ("右肺下叶未见异常，左肺上叶见结节", 3),
        ("右肺上叶正常，左肺下叶不正常", 4),
        ("左肺上叶和左肺下叶：前者正常，后者见结节", 4),
        ("右肺中叶及右肺下叶未见异常", None),
        ("左肺下叶结节，其余肺叶未见异常", 4),
        ("left lower lobe; the other lobes are normal", 4),
    ],
)
def test_a_lobe_called_normal_is_not_named(answer: str, place: int | None) -> None:
    assert find_choice(answer, LOBES) == (None if place is None else LOBES[place])


@pytest.mark.parametrize(
    ("question", "answer", "said"),
    [
        ("Is there an effusion on the left?", "No effusion on the right, but one on the left", "yes"),
        ("Is there an effusion on the right?", "No effusion on the right, but one on the left", "no"),
        ("Is there an effusion on the left?", "There is one on the right, none on the left", "no"),
        ("Is there an effusion on the right?", "There is one on the right, none on the left", "yes"),
        ("Is there an effusion?", "There is none on the right, but there is one on the left.", "yes"),
        ("Is there an effusion?", "No effusion on the left or on the right.", "no"),
        (
            "Is there a left-sided pneumothorax?",
            "There is no pneumothorax on the left; on the right there is a small one.",
            "no",
        ),
        (
            "Is there a nodule in the left lower lobe?",
            "There is a nodule in the right upper lobe, none in the left lower lobe.",
            "no",
        ),
        (
            "Is there a nodule in the left lower lobe?",
            "None in the left upper lobe, but a nodule is seen in the left lower lobe.",
            "yes",
        ),
        ("左侧有积液吗？", "右侧有积液，左侧没有", "no"),
        ("右侧有积液吗？", "右侧有积液，左侧没有", "yes"),
        ("有胸腔积液吗？", "右侧有积液，左侧没有", "yes"),
        ("有胸腔积液吗？", "左侧未见积液，右侧可见积液", "yes"),
        ("左肺下叶有结节吗？", "左肺上叶有结节，左肺下叶未见结节", "no"),
    ],
)
def test_yes_and_no_are_of_the_side_that_was_asked_about(question: str, answer: str, said: str) -> None:
    chinese = not question.isascii()
    for reference in ("yes", "no"):
        words = {"yes": "有", "no": "没有"} if chinese else {"yes": "yes", "no": "no"}
        record = Record("r", answer, (words[reference],), question=question, question_type="closed",
                        choices=tuple(words.values()))  # fmt: skip
        assert (judge_record(record).score == 1.0) == (reference == said), reference
        assert (read_record(record).verdict == "right") == (reference == said), reference


@pytest.mark.parametrize(
    ("question", "answer", "choices", "expected"),
    [
        ("Which lung is normal?", "The right lung is normal.", ("left", "right"), "right"),
        ("Which side is clear?", "the left is clear, the right is not", ("left", "right"), "left"),
        ("哪侧正常？", "右侧正常，左侧积液", ("左侧", "右侧"), "右侧"),
        (
            "Is the heart normal or enlarged?",
            "The heart is normal, not enlarged.",
            ("normal", "enlarged"),
            "normal",
        ),
        (
            "What does the right lung show?",
            "the right lung is normal",
            ("right lung normal", "left lung normal"),
            "right lung normal",
        ),
    ],
)
def test_asked_what_is_normal_the_normal_one_is_named(
    question: str, answer: str, choices: tuple[str, ...], expected: str
) -> None:
    for reference in choices:
        record = Record("r", answer, (reference,), question=question, question_type="closed", choices=choices)
        assert (judge_record(record).score == 1.0) == (reference == expected)

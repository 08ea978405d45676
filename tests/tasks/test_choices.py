"""Closed answers are read with word boundaries and cannot be gamed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmvl.tasks.answers import find_choice

LOBES = ("right upper lobe", "right lower lobe", "left upper lobe", "left lower lobe")


@pytest.mark.parametrize(
    ("answer", "choices", "expected"),
    [
        ("Yes.", ("yes", "no"), "yes"),
        ("No, the lungs are clear.", ("yes", "no"), "no"),
        ("A nodule is not normal", ("yes", "no"), None),  # "no" inside nodule, not, normal
        ("yes and no", ("yes", "no"), None),
        ("", ("yes", "no"), None),
        ("It lies in the LEFT  lower lobe", LOBES, "left lower lobe"),
        ("left lower lobe", ("left", "right", "left lower lobe"), "left lower lobe"),
        ("left lobe or right lobe", ("left lobe", "right lobe"), None),
        ("left, yes left", ("left", "right"), "left"),
        ("是的。", ("是", "否"), "是"),
        ("不是", ("是", "否"), "否"),
        ("没有结节", ("有", "没有"), "没有"),
        ("有结节", ("有", "没有"), "有"),
        ("有，没有", ("有", "没有"), None),
        ("右肺上叶", ("右肺上叶", "右肺下叶", "左肺上叶"), "右肺上叶"),
        ("B", ("A", "B", "C"), "B"),
        ("b", ("A", "B", "C"), "B"),
        ("The answer is (B).", ("A", "B", "C"), "B"),
        ("选B。", ("A", "B", "C"), "B"),
        ("A nodule, so C", ("A", "B", "C"), "C"),
        ("A, B, C", ("A", "B", "C"), None),
        ("1.5", ("1", "1.5", "5"), "1.5"),
    ],
)
def test_reading(answer: str, choices: tuple[str, ...], expected: str | None) -> None:
    assert find_choice(answer, choices) == expected


@given(st.permutations(LOBES), st.integers(2, 4))
def test_listing_several_choices_is_no_answer(order: list[str], count: int) -> None:
    assert find_choice(", ".join(order[:count]), LOBES) is None


@given(st.sampled_from(LOBES), st.permutations(LOBES))
def test_the_order_of_the_choices_does_not_matter(choice: str, order: list[str]) -> None:
    assert find_choice(f"In the {choice}.", order) == choice


@given(st.text(max_size=40), st.sampled_from([("yes", "no"), ("是", "否"), ("A", "B")]))
def test_any_text_gives_a_choice_or_none(answer: str, choices: tuple[str, str]) -> None:
    assert find_choice(answer, choices) in (*choices, None)


CHINESE_LOBES = ("右上叶", "右下叶", "左上叶", "左下叶")
INITIALS = ("RUL", "RLL", "LUL", "LLL")
SAID_OF_A_LOBE = [
    ("lower lobe of the left lung", 3), ("LLL", 3), ("It is in the RUL.", 0), ("left inferior lobe", 3), ("lower left lobe", 3),
    ("left lung, lower lobe", 3), ("Left-lower-lobe", 3), ("lower lobe (left)", 3), ("lower lobe, left", 3),
    ("lower lobe on the left side", 3), ("right lung upper lobe", 0), ("the superior segment of the LLL", 3),
    ("not the LUL but the LLL", 3), ("not the left lower lobe, but RLL", 1), ("left lower pulmonary lobe", 3),
    ("the nodule is in the right lower lobe, left lung is clear", 1), ("not in the lower lobe of the left lung", None),
    ("upper and lower lobes of the left lung", None), ("upper lobe and lower lobe of the left lung", None),
    ("both lower lobes", None), ("lower lobes bilaterally", None), ("LUL or LLL", None), ("left upper and lower lobes", None),
    ("左下叶", 3), ("左侧肺下叶", 3), ("左下肺叶", 3), ("左下肺", 3), ("位于右肺的上叶。", 0), ("左側肺下葉", 3),
    ("左肺上叶及下叶", None), ("左肺上、下叶", None), ("双肺下叶", None), ("不是左下叶，是右下叶", 1), ("不在左肺下叶", None),
]  # fmt: skip


@pytest.mark.parametrize(("answer", "place"), SAID_OF_A_LOBE)
@pytest.mark.parametrize("choices", [LOBES, CHINESE_LOBES, INITIALS])
def test_a_lobe_is_named_in_any_wording(answer: str, place: int | None, choices: tuple[str, ...]) -> None:
    assert find_choice(answer, choices) == (None if place is None else choices[place])


@pytest.mark.parametrize(
    ("answer", "choices", "expected"),
    [
        ("lower lobe of the left lung", ("left lung", "right lung"), "left lung"),
        ("middle lobe", ("right middle lobe", "right lower lobe"), "right middle lobe"),
        ("lower lobe of the left lung", ("A. right lower lobe", "B. left lower lobe"), "B. left lower lobe"),
        ("lower lobes of both lungs", (*LOBES, "both lower lobes"), "both lower lobes"),
        (
            "upper zone of the left lung",
            ("left upper lung zone", "left lower lung zone"),
            "left upper lung zone",
        ),
        ("effusion on the left", ("left effusion", "right effusion"), "left effusion"),
        ("right to left shunt", ("left to right shunt", "no shunt"), None),
        ("no effusion left", ("left effusion", "right effusion"), None),
        ("bilateral", ("left", "right", "both"), "both"),
        ("left and right", ("left", "right", "both"), "both"),
        ("双侧", ("左侧", "右侧", "both"), "both"),
        ("None of these", ("A. nodule", "B. mass", "C. none of the above"), "C. none of the above"),
        ("以上都不是", ("nodule", "mass", "none of the above"), "none of the above"),
        ("B) mass, because a nodule is smaller", ("A. nodule", "B. mass"), "B. mass"),
        ("A. nodule, B. mass", ("A. nodule", "B. mass"), None),
        ("computed tomography", ("CT", "MRI", "X-ray"), "CT"),
        ("MR", ("CT", "MRI", "X-ray"), "MRI"),
        ("chest radiograph", ("CT", "MRI", "X-ray"), "X-ray"),
        ("ER positive", ("ER+", "ER-"), "ER+"),
        ("ER is negative", ("ER+", "ER-"), "ER-"),
        ("ER阳性", ("ER+", "ER-"), "ER+"),
        ("ER (-)", ("ER positive", "ER negative"), "ER negative"),
        ("positive for HER2", ("HER2+", "HER2-"), "HER2+"),
        ("HER2-", ("HER2 positive", "HER2 negative"), "HER2 negative"),
        ("not ER positive", ("ER+", "ER-"), None),
        ("gram positive", ("Gram-positive", "Gram-negative"), "Gram-positive"),
        ("ER negative/HER2 positive", ("ER+/HER2-", "ER-/HER2+"), "ER-/HER2+"),
    ],
)
def test_names_and_results_in_another_form(
    answer: str, choices: tuple[str, ...], expected: str | None
) -> None:
    assert find_choice(answer, choices) == expected

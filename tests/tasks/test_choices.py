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

"""Judging answers and deriving the truth of plain conversations."""

import pytest

from medmvl.errors import SampleError
from medmvl.schema import Message, Sample, Target
from medmvl.tasks import Task, group_of, judge, target_of
from medmvl.tasks.metrics import exact_match, normalise, token_f1


def conversation(answer: str | None, **fields: object) -> Sample:
    turns = [Message(role="user", content="Is there a nodule?")]  # type: ignore[arg-type]
    if answer is not None:
        turns.append(Message(role="assistant", content=answer))  # type: ignore[arg-type]
    return Sample(id="s1", messages=tuple(turns), **fields)  # type: ignore[arg-type]


def test_normalisation_joins_widths_cases_and_punctuation() -> None:
    assert normalise("  Ｌeft-Lower,  LOBE! ") == "left lower lobe"
    assert normalise("CT检查：1.5厘米") == "ct 检 查 1.5 厘 米"


def test_token_f1_by_hand() -> None:
    # 2 of 3 given words and 2 of 4 wanted ones: precision 2/3, recall 1/2
    assert token_f1("small left nodule", ["a left sided nodule"]) == pytest.approx(
        2 * (2 / 3) * 0.5 / (2 / 3 + 0.5)
    )
    assert token_f1("", ["x"]) == 0.0
    assert token_f1("the the the", ["the"]) == pytest.approx(0.5)
    assert token_f1("b", ["a", "b"]) == 1.0


def test_an_empty_answer_is_wrong() -> None:
    assert not exact_match("", [""])
    assert judge("", Target(question_type="k", answers=("yes",), choices=("yes", "no"))).score == 0.0


def test_closed_and_open() -> None:
    closed = Target(question_type="k", answers=("left lung",), choices=("left lung", "right lung"))
    assert judge("In the left lung.", closed).score == 1.0
    assert judge("left lung and right lung", closed).score == 0.0
    opened = judge("12 mm", Target(question_type="size", answers=("12 mm",)))
    assert (opened.metric, opened.score, opened.exact) == ("token_f1", 1.0, True)


def test_the_truth_of_a_plain_conversation() -> None:
    assert target_of(conversation("Yes")) == Target(
        question_type="closed", answers=("Yes",), choices=("yes", "no")
    )
    assert target_of(conversation("没有。")) == Target(
        question_type="closed", answers=("没有。",), choices=("有", "没有")
    )
    assert target_of(conversation("a large mass", task="vqa")) == Target(
        question_type="vqa", answers=("a large mass",)
    )
    assert target_of(conversation(None)) is None


def test_groups_keep_dimensions_apart() -> None:
    volume = {
        "role": "user",
        "content": [{"type": "volume", "volume": "a.nii"}, {"type": "text", "text": "?"}],
    }
    sample = Sample.model_validate({"id": "a", "messages": [volume], "language": "zh"})
    assert str(group_of(sample)) == "3D open zh"
    assert str(group_of(conversation("Yes"))) == "text closed -"


def test_a_task_needs_truths_and_ids_of_its_own() -> None:
    with pytest.raises(SampleError, match="'s1' has neither"):
        Task("t", [conversation(None)])
    with pytest.raises(SampleError, match="the id 's1'"):
        Task("t", [conversation("Yes"), conversation("No")])
    task = Task("t", [conversation("Yes")])
    assert task.judge(task.samples[0], "yes, there is").score == 1.0


@pytest.mark.parametrize("choices", [("lung", "heart"), ("A. lung", "B. heart"), ("(A) lung", "(B) heart")])
def test_a_truth_that_is_the_letter_of_a_choice_is_that_choice(choices: tuple[str, ...]) -> None:
    """Answering with the right option is right, and no other one is."""
    target = Target(question_type="organ", answers=("B",), choices=choices)
    scores = {text: judge(text, target).score for text in ("B", "heart", "B. heart", "A. lung", "lung", "A")}
    assert scores == {"B": 1, "heart": 1, "B. heart": 1, "A. lung": 0, "lung": 0, "A": 0}
    blood = Target(question_type="group", answers=("B",), choices=("O", "A", "B", "AB"))
    assert judge("B", blood).score == 1 and judge("A", blood).score == 0

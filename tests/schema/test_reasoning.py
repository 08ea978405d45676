"""Reasoning is told from the answer in one way, whatever the pieces it comes in."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medmvl.errors import SampleError
from medmvl.schema import Message, TextBlock, dump_sample, parse_sample
from medmvl.schema.reasoning import Marks, join_reasoning, split_reasoning, without_reasoning

MARKS = [Marks(), Marks("[THINK]", "[/THINK]"), Marks("◁think▷", "◁/think▷"), Marks("<a>", "aab")]
written = st.lists(
    st.sampled_from(
        [
            "<think>",
            "</think>",
            "</",
            "<",
            "think>",
            "\n",
            " ",
            "a",
            "ab",
            "b",
            "结节",
            "[/THINK]",
            "◁/think▷",
        ]
    ),
    max_size=14,
).map("".join)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(text=written, marks=st.sampled_from(MARKS), data=st.data())
def test_what_is_sure_never_changes_and_the_end_is_the_whole(text, marks, data):
    whole = marks.split(text, final=True)
    given_reasoning, given_answer, closed = "", "", False
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    for cut in cuts:
        found = marks.split(text[:cut], final=False)
        assert found.reasoning.startswith(given_reasoning) and found.answer.startswith(given_answer)
        assert found.closed or not closed
        given_reasoning, given_answer, closed = found.reasoning, found.answer, found.closed
    assert whole.reasoning.startswith(given_reasoning) and whole.answer.startswith(given_answer)
    if not whole.closed:
        assert whole.answer == "" and marks.closing not in text.replace(marks.opening, "", 1)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    reasoning=st.sampled_from(["a", "a < b", "左侧\n\nb", "</thin"]),
    answer=st.sampled_from(["", "b", "no </b>", "右"]),
)
def test_joined_texts_come_apart(reasoning, answer):
    text = join_reasoning(reasoning, answer)
    assert split_reasoning(text) == (reasoning, answer)
    found = Marks().split(text, final=True)  # a model that writes the opening mark again
    assert (found.reasoning, found.answer) == (reasoning, answer)
    assert without_reasoning(text).strip() == answer
    assert join_reasoning("", answer) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("yes", "yes"), ("a < b and [1]", "a < b and [1]"), ("<think>a</think>b", "b"), ("<think>a", ""),
        ("a</think>b", "b"), ("[THINK]a[/THINK]b", "b"), ("[THINK]a", ""), ("◁think▷a", ""),
        ("<|channel|>analysis<|message|>no", ""), ("<|channel|>analysis<|message|>no<|channel|>final<|message|>yes", "yes"),
        ("<think>a</think>b<think>c", "b"), ("<THINK>a</THINK>b", "b"),
    ],
)  # fmt: skip
def test_blocks_of_any_family_are_taken_out(text, answer):
    assert without_reasoning(text).strip() == answer


def test_only_an_assistant_reasons_and_without_marks():
    for wrong in (
        {"role": "user", "content": "a", "reasoning": "b"},
        {"role": "assistant", "content": "a", "reasoning": "b</think>"},
    ):
        with pytest.raises(ValueError, match="reasoning"):
            Message.model_validate(wrong)
    inline = Message(role="assistant", content=(TextBlock(text="<think>\nso\n</think>\n\nYes."),))
    assert inline.with_reasoning_apart() == Message(
        role="assistant", content=(TextBlock(text="Yes."),), reasoning="so"
    )
    plain = Message(role="user", content=(TextBlock(text="<think>a</think>b"),))
    assert plain.with_reasoning_apart() == plain


def test_samples_keep_their_reasoning_in_json_lines():
    line = (
        '{"id": "1", "messages": [{"role": "user", "content": "a?"}, '
        '{"role": "assistant", "reasoning": "It is 左.", "content": "b"}]}'
    )
    sample = parse_sample(line, "here")
    assert sample.has_reasoning and sample.messages[1].reasoning == "It is 左."
    assert parse_sample(dump_sample(sample), "here") == sample
    assert "reasoning" not in dump_sample(sample.prompt())
    with pytest.raises(SampleError, match=r"messages\.1: .*<think>"):
        parse_sample(line.replace("It is", "<think>"), "here")

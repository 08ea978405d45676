"""Reasoning before an answer in the engine: told apart, streamed, counted; forms and stop texts are the answer's."""

import asyncio
import json

import pytest

from medmvl.engine import Engine, Request
from medmvl.engine.answer_file import read_answers
from medmvl.engine.likelihood import candidate_logprobs
from medmvl.engine.options import GenerationOptions
from medmvl.engine.scheduler import Scheduler
from medmvl.engine.sequences import ReasoningPiece, SequenceState
from medmvl.errors import UserError
from medmvl.schema.reasoning import Marks
from tests.factories.engine import image_of, question, tiny_engine, visual_of, writes

REQUEST = Request.from_sample(question("ct", "Is there a nodule?", "ct-1"), visual_of)
WRITTEN = "There is a shadow.\nIt is round.\n</think>\n\nYes. There is one."


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine: Engine = tiny_engine(thinking=True)
    monkeypatch.setattr(engine.model, "forward", writes(engine, WRITTEN))
    return engine


def test_reasoning_and_answer_are_apart(engine: Engine) -> None:
    answer = engine.answer([REQUEST], GenerationOptions(max_new_tokens=100))[0]
    assert (answer.reasoning, answer.text, answer.finish) == (
        "There is a shadow.\nIt is round.", "Yes. There is one.", "stop",
    )  # fmt: skip
    rest = engine.processor.decode(answer.tokens[answer.num_reasoning_tokens :])
    assert rest.strip() == answer.text and answer.unanswered is None
    assert answer.to_json()["reasoning"] == answer.reasoning
    assert answer.inline == f"<think>\n{answer.reasoning}\n</think>\n\n{answer.text}"


def test_a_stream_gives_reasoning_first_and_the_same_texts(engine: Engine) -> None:
    pieces = list(engine.stream(REQUEST, GenerationOptions(max_new_tokens=100)))
    kinds = [isinstance(piece, ReasoningPiece) for piece in pieces]
    assert kinds == sorted(kinds, reverse=True) and len(pieces) > 4
    assert (
        "".join(piece for piece in pieces if isinstance(piece, ReasoningPiece))
        == "There is a shadow.\nIt is round."
    )
    assert "".join(piece for piece in pieces if not isinstance(piece, ReasoningPiece)) == "Yes. There is one."


def test_the_scheduler_streams_the_same(engine: Engine) -> None:
    async def ask() -> list[object]:
        return [piece async for piece in scheduler.stream(REQUEST, GenerationOptions(max_new_tokens=100))]

    scheduler = Scheduler(engine)
    try:
        *pieces, answer = asyncio.run(ask())
    finally:
        scheduler.close()
    assert "".join(p for p in pieces if isinstance(p, ReasoningPiece)) == answer.reasoning  # type: ignore
    assert "".join(p for p in pieces if not isinstance(p, ReasoningPiece)) == answer.text  # type: ignore


def test_tokens_that_run_out_within_reasoning_leave_no_answer(engine: Engine) -> None:
    answer = engine.answer([REQUEST], GenerationOptions(max_new_tokens=5))[0]
    assert answer.text == "" and answer.finish == "length" and answer.reasoning
    assert "There is a shadow.".startswith(answer.reasoning)
    assert answer.num_reasoning_tokens == len(answer.tokens) == 5
    assert answer.unanswered == "no answer: the reasoning was cut after 5 tokens"


def test_a_turn_that_ends_within_reasoning_has_no_answer(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.model, "forward", writes(engine, "There is a shadow."))
    answer = engine.answer([REQUEST], GenerationOptions(max_new_tokens=40))[0]
    assert (answer.text, answer.reasoning, answer.finish) == ("", "There is a shadow.", "stop")
    assert "ended the turn" in str(answer.unanswered)


def test_one_request_may_do_without(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.model, "forward", writes(engine, "Yes."))
    answer = engine.answer([REQUEST], GenerationOptions(max_new_tokens=40, thinking=False))[0]
    assert (answer.text, answer.reasoning, answer.num_reasoning_tokens) == ("Yes.", None, 0)
    prompts = [
        engine.processor.decode(engine.prepare(REQUEST, GenerationOptions(thinking=asked)).input_ids)
        for asked in (True, False)
    ]
    assert prompts[0].endswith("<think>\n") and prompts[1].endswith("<think>\n\n</think>\n\n")


def test_a_model_that_knows_no_reasoning_refuses_it() -> None:
    with pytest.raises(UserError, match="cannot be asked to reason"):
        tiny_engine().answer([REQUEST], GenerationOptions(thinking=True))
    assert tiny_engine().answer([REQUEST], GenerationOptions(max_new_tokens=3))[0].reasoning is None


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"choices": ("no", "perhaps")}, "no perhaps"),
        ({"regex": "[0-9]{2} mm"}, None),
        ({"json_schema": '{"type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"], '
          '"additionalProperties": false}'}, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_forms_are_those_of_the_answer(
    engine: Engine, options: dict[str, str], expected: str | None, temperature: float
) -> None:
    answer = engine.answer(
        [REQUEST], GenerationOptions(max_new_tokens=120, temperature=temperature, **options)
    )[0]
    assert answer.reasoning == "There is a shadow.\nIt is round."
    if expected is not None:
        assert answer.text in expected.split()
    elif "regex" in options:
        assert answer.text[:2].isdigit() and answer.text[2:] == " mm"
    else:
        assert isinstance(json.loads(answer.text)["a"], bool)


@pytest.mark.parametrize("written", ["ab</think>junk", "ab", "</think>\n\n\n\n\n\nyes"])
def test_a_form_holds_whatever_the_model_would_write(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """A mark that a token joins with the answer, a turn that would end too early, white space without end."""
    monkeypatch.setattr(engine.model, "forward", writes(engine, written))
    answer = engine.answer([REQUEST], GenerationOptions(max_new_tokens=300, choices=("yes", "no")))[0]
    if answer.finish == "stop":
        assert answer.text in ("yes", "no")
    else:
        assert answer.text == "" and len(answer.tokens) == 300


def test_a_token_that_closes_and_answers_at_once_is_not_taken_under_a_form() -> None:
    """Tokens of a made-up vocabulary, so that one of them holds the end of the mark and a letter."""
    import torch

    words = {0: "a", 1: "</think", 2: ">j", 3: ">", 4: "\n\n", 5: "yes", 6: ""}

    class Form:
        complete = False

        def allowed(self, number: int) -> torch.Tensor:
            return torch.arange(number) == 5

        def take(self, token: int) -> None:
            assert token == 5
            self.complete = True

    sequence = SequenceState(
        GenerationOptions(choices=("yes",)), frozenset({6}), lambda ids: "".join(words[i] for i in ids), Form(),  # type: ignore
        marks=Marks(),
    )  # fmt: skip
    for wanted in ([0], [6, 1], [2, 3], [4], [4, 0]):
        logits = torch.zeros(7)
        for place, token in enumerate(wanted):
            logits[token] = 10.0 - place
        sequence.take(int(sequence.adjust(logits).argmax()))
    assert [words[token] for token in sequence.tokens] == ["a", "</think", ">", "\n\n", "yes"]
    assert (sequence.text, sequence.reasoning, sequence.finish) == ("yes", "a", "stop")


def test_stop_texts_are_those_of_the_answer(engine: Engine) -> None:
    answer = engine.answer([REQUEST], GenerationOptions(max_new_tokens=100, stop=(" There",)))[0]
    assert (answer.text, answer.reasoning) == ("Yes.", "There is a shadow.\nIt is round.")
    pieces = list(engine.stream(REQUEST, GenerationOptions(max_new_tokens=100, stop=(" There",))))
    assert "".join(piece for piece in pieces if not isinstance(piece, ReasoningPiece)) == "Yes."


def test_the_probability_is_that_of_the_answer(engine: Engine) -> None:
    answer = engine.answer([REQUEST], GenerationOptions(max_new_tokens=100, logprobs=0))[0]
    assert len(answer.logprobs) == len(answer.tokens) and answer.probability == pytest.approx(1.0)


def test_choices_are_scored_as_answers_without_reasoning(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    [[yes, no]] = candidate_logprobs(engine, [REQUEST], [["yes", "no"]])
    assert yes < 0 and no < 0 and yes != no


def test_files_of_answers_keep_reasoning_beside_the_text(engine: Engine, tmp_path) -> None:  # type: ignore
    out = tmp_path / "answers.jsonl"
    samples = [question("ct", "Is there a nodule?", "ct-1")]
    options = GenerationOptions(max_new_tokens=100)
    assert not engine.answer_samples(samples, image_of, out, {"model": "m"}, options)
    [stored] = read_answers(out)
    assert (stored.text, stored.reasoning) == ("Yes. There is one.", "There is a shadow.\nIt is round.")
    line = json.loads(out.read_text())
    assert line["reasoning"] == stored.reasoning and "think" not in line["text"]
    with pytest.raises(UserError, match="thinking"):
        engine.answer_samples(
            samples, image_of, out, {"model": "m"}, options.model_copy(update={"thinking": False})
        )

"""What the engine promises: neighbours in a batch, streaming, beams and the cache change no answer."""

from functools import wraps
from pathlib import Path

import pytest
import torch

from medmvl.engine import Answer, Engine, Failure, GenerationOptions, Request
from medmvl.errors import UserError
from medmvl.schema import Message
from tests.factories.engine import question, save_tiny_model, tiny_engine, visual_of

SHORT = GenerationOptions(max_new_tokens=12)
SAMPLES = [
    question("text", "Is there a nodule?"),
    question("ct", "Is there a nodule? Which lobe?", "ct-1"),
    question("xray", "有没有结节？", "x-1"),
    question("both", "Describe the findings.", "ct-2", "x-2", "ct-1"),
    question("same scan", "心脏增大吗？", "ct-1"),
]
REQUESTS = [Request.from_sample(sample, visual_of) for sample in SAMPLES]


@pytest.fixture
def engine() -> Engine:
    engine: Engine = tiny_engine()
    engine.inputs.visual_tokens.clear()
    return engine


@pytest.mark.parametrize("options", [SHORT, GenerationOptions(max_new_tokens=6, num_beams=3)])
def test_neighbours_do_not_change_an_answer(engine: Engine, options: GenerationOptions) -> None:
    together = engine.answer(REQUESTS, options)
    for request, answer in zip(REQUESTS, together, strict=True):
        alone = engine.answer([request], options)[0]
        assert (alone.text, alone.tokens, alone.finish) == (answer.text, answer.tokens, answer.finish)
    assert len({answer.tokens for answer in together}) > 1


def test_log_probabilities_do_not_depend_on_the_batch(engine: Engine) -> None:
    prepared = [engine.prepare(request) for request in REQUESTS]
    together = log_probabilities(engine, prepared)
    for row, sample in enumerate(prepared):
        torch.testing.assert_close(log_probabilities(engine, [sample])[0], together[row], atol=1e-4, rtol=0)


def log_probabilities(engine: Engine, prepared: list) -> torch.Tensor:
    """Of the first generated token, `(B, vocabulary)`."""
    batch = engine.processor.collate(prepared, padding_side="left")
    positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        return engine.model(**batch, position_ids=positions).logits[:, -1].log_softmax(-1)


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.name)
def test_the_stream_is_the_answer(engine: Engine, request_: Request) -> None:
    options = GenerationOptions(max_new_tokens=30)
    pieces = list(engine.stream(request_, options))
    assert "".join(pieces) == engine.answer([request_], options)[0].text
    assert len(pieces) > 1


def test_a_closed_stream_stops_decoding(engine: Engine) -> None:
    steps = 0
    forward = engine.model.forward

    @wraps(forward)  # generate looks at the signature
    def counted(*args: object, **kwargs: object) -> object:
        nonlocal steps
        steps += 1
        return forward(*args, **kwargs)

    engine.model.forward = counted  # type: ignore[method-assign]
    try:
        stream = engine.stream(REQUESTS[0], GenerationOptions(max_new_tokens=450))
        next(stream)
        stream.close()  # type: ignore[attr-defined]
    finally:
        del engine.model.forward
    assert steps < 400
    assert engine.answer([REQUESTS[0]], SHORT)[0].tokens  # the engine is free again


def test_an_error_while_streaming_reaches_the_reader(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        engine.model, "forward", lambda **_: (_ for _ in ()).throw(RuntimeError("out of memory"))
    )
    with pytest.raises(RuntimeError, match="out of memory"):
        list(engine.stream(REQUESTS[0], SHORT))


def test_a_broken_file_harms_one_request(engine: Engine) -> None:
    broken = Request.from_sample(question("bad one", "?", "broken.png"), visual_of)
    outcomes = engine.try_answer([REQUESTS[0], broken, REQUESTS[1]], SHORT)
    assert [type(outcome) for outcome in outcomes] == [Answer, Failure, Answer]
    assert outcomes[1] == Failure("bad one", "broken.png: truncated file")
    assert outcomes[2].tokens == engine.answer([REQUESTS[1]], SHORT)[0].tokens  # type: ignore[union-attr]
    with pytest.raises(UserError, match=r"^bad one: broken\.png: truncated file"):
        engine.answer([broken], SHORT)


def test_a_question_longer_than_the_context_is_refused_by_name(engine: Engine) -> None:
    with pytest.raises(UserError, match=r"^ct: .* more than the 512 the LLM reads"):
        engine.answer([REQUESTS[1]], GenerationOptions(max_new_tokens=505))


def test_a_scan_is_encoded_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    encode = engine.model.encode

    def counted(images: object, volumes: object, table: torch.Tensor, *rest: object) -> object:
        calls.append(len(table))
        return encode(images, volumes, table, *rest)

    monkeypatch.setattr(engine.model, "encode", counted)
    first = engine.answer(REQUESTS, SHORT)
    assert calls == [4]  # five visual blocks of four different scans
    assert [a.tokens for a in engine.answer(REQUESTS, SHORT)] == [a.tokens for a in first]
    assert calls == [4]


def test_another_scan_gives_another_prompt_to_the_model(engine: Engine) -> None:
    tokens = [
        engine.inputs.visual_tokens.of([(v, "") for v in engine.prepare(request).visuals])
        for request in REQUESTS[1:3]
    ]
    other = engine.prepare(Request.from_sample(question("q", "?", "ct-9"), visual_of)).visuals
    assert not torch.allclose(tokens[0][0], engine.inputs.visual_tokens.of([(v, "") for v in other])[0])


def test_sampling_is_repeated_by_its_seed_and_leaves_the_global_one_alone(engine: Engine) -> None:
    options = [GenerationOptions(max_new_tokens=12, temperature=1.0, seed=seed) for seed in (1, 1, 2)]
    state = torch.get_rng_state()
    first, again, other = (engine.answer([REQUESTS[1]], option)[0].tokens for option in options)
    assert first == again != other
    assert torch.equal(state, torch.get_rng_state())


def test_what_was_seen_holds_numbers_but_no_path(engine: Engine) -> None:
    answer = engine.answer([REQUESTS[3]], SHORT)[0]
    assert [seen["kind"] for seen in answer.seen] == ["volume", "image", "volume"]
    volume = answer.seen[0]
    assert volume["shape"] == [4, 16, 16] and volume["tokens"] == 8 and volume["grid"] == [2, 2, 2]
    assert "ct-2" not in str(answer.to_json())


def test_a_conversation_goes_on(engine: Engine) -> None:
    first = SAMPLES[1].messages
    said = Message(role="assistant", content="Yes.")  # type: ignore[arg-type]
    asked = Message(role="user", content="Which lobe?")  # type: ignore[arg-type]
    turns = Request((*first, said, asked), visual_of)
    assert len(engine.prepare(turns).input_ids) > len(engine.prepare(REQUESTS[1]).input_ids)
    assert engine.answer([turns], SHORT)[0].tokens


def test_load_gives_the_same_answers(engine: Engine, tmp_path: Path) -> None:
    loaded = Engine.load(save_tiny_model(tmp_path / "model"))
    assert [a.tokens for a in loaded.answer(REQUESTS, SHORT)] == [
        a.tokens for a in engine.answer(REQUESTS, SHORT)
    ]


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model found"):
        Engine.load(tmp_path)
    with pytest.raises(UserError, match="device 'cuda:99'"):
        Engine.load(save_tiny_model(tmp_path / "model"), device="cuda:99")


def test_a_folder_that_is_no_model_says_what_to_give(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    with pytest.raises(UserError, match=r"processor_config\.json missing.*such as RUN/model"):
        Engine.load(tmp_path, "cpu")

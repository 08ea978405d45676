"""A sequence decodes by its own options: seed, form, stop texts, log-probabilities, whoever shares the batch."""

import json

import pytest
import torch
from pydantic import ValidationError

from medmvl.engine import Engine, Request
from medmvl.engine.options import GenerationOptions
from medmvl.engine.sequences import SequenceState
from medmvl.errors import UserError
from tests.factories.engine import question, tiny_engine, visual_of

SAMPLES = [
    question("text", "Is there a nodule?"),
    question("ct", "Is there a nodule? Which lobe?", "ct-1"),
    question("xray", "有没有结节？", "x-1"),
    question("both", "Describe the findings.", "ct-2", "x-2", "ct-1"),
]
REQUESTS = [Request.from_sample(sample, visual_of) for sample in SAMPLES]


@pytest.fixture(scope="module")
def engine() -> Engine:
    engine: Engine = tiny_engine()
    return engine


def answer(engine: Engine, **options: object) -> str:
    return engine.answer([REQUESTS[1]], GenerationOptions.model_validate(options))[0].text


def test_choices_regex_and_schema_are_kept(engine: Engine) -> None:
    assert answer(engine, choices=["yes", "no"]) in ("yes", "no")
    assert answer(engine, choices=["有结节", "没有"]) in ("有结节", "没有")
    assert answer(engine, regex="[0-9]{2} mm")[-3:] == " mm"
    schema = {
        "type": "object",
        "properties": {"nodule": {"type": "boolean"}, "side": {"enum": ["left", "right"]}},
        "required": ["nodule", "side"],
        "additionalProperties": False,
    }
    found = json.loads(answer(engine, json_schema=json.dumps(schema)))
    assert isinstance(found["nodule"], bool) and found["side"] in ("left", "right")


def test_a_form_that_cannot_be_read_is_an_error(engine: Engine) -> None:
    with pytest.raises(UserError, match="form"):
        answer(engine, regex="(")
    with pytest.raises(ValidationError, match="one form"):
        GenerationOptions(regex="a", choices=("b",))
    with pytest.raises(ValidationError, match="beams"):
        GenerationOptions(num_beams=2, stop=("x",))


def test_neighbours_change_no_sampled_answer(engine: Engine) -> None:
    options = [
        GenerationOptions(max_new_tokens=8, temperature=1.0, top_p=0.9, seed=seed) for seed in range(4)
    ]
    prepared = [engine.prepare(request) for request in REQUESTS[:4]]
    together = [engine.new_sequence(option) for option in options]
    engine.decode_sequences(prepared, together)
    for sample, option, sequence in zip(prepared, options, together, strict=True):
        alone = engine.new_sequence(option)
        engine.decode_sequences([sample], [alone])
        assert alone.tokens == sequence.tokens


def test_log_probabilities_do_not_depend_on_the_batch(engine: Engine) -> None:
    options = GenerationOptions(max_new_tokens=6, logprobs=3)
    together = engine.answer(REQUESTS[:4], options)
    for request, found in zip(REQUESTS[:4], together, strict=True):
        alone = engine.answer([request], options)[0]
        assert [entry.token for entry in found.logprobs] == list(found.tokens) == list(alone.tokens)
        for mine, theirs in zip(alone.logprobs, found.logprobs, strict=True):
            assert mine.logprob == pytest.approx(theirs.logprob, abs=1e-4)
            assert mine.top[0] == (mine.token, pytest.approx(mine.logprob)) and len(mine.top) == 3


def test_a_known_beginning_changes_no_answer(engine: Engine) -> None:
    options = GenerationOptions(max_new_tokens=6, logprobs=1)
    engine.inputs.prefixes.clear()
    engine._keeps_prefixes = False
    plain = engine.answer([REQUESTS[3]], options)[0]
    engine._keeps_prefixes = True
    first, second = (engine.answer([REQUESTS[3]], options)[0] for _ in range(2))
    assert len(engine.inputs.prefixes) == 1
    for other in (first, second):
        assert other.tokens == plain.tokens
        for mine, theirs in zip(plain.logprobs, other.logprobs, strict=True):
            assert mine.logprob == pytest.approx(theirs.logprob, abs=1e-4)


def test_nothing_is_shared_between_owners(engine: Engine) -> None:
    engine.inputs.prefixes.clear()
    engine.inputs.visual_tokens.clear()
    sample = engine.prepare(REQUESTS[3])
    for owner in ("a", "b"):
        engine.decode_sequences([sample], [engine.new_sequence(GenerationOptions(max_new_tokens=1))], [owner])
    assert len(engine.inputs.prefixes) == 2
    assert len(engine.inputs.visual_tokens) == 2 * len({id(visual) for visual in sample.visuals})


def spell(ids: object) -> str:
    return "".join(chr(i) for i in ids)  # type: ignore[attr-defined]


def written(text: str, **options: object) -> tuple[SequenceState, list[str]]:
    pieces: list[str] = []
    sequence = SequenceState(
        GenerationOptions.model_validate(options), frozenset({0}), spell, listen=pieces.append
    )
    for letter in text + "\0":
        sequence.take(ord(letter))
    return sequence, pieces


def test_stop_texts_end_the_answer_and_are_never_given_out() -> None:
    sequence, pieces = written("no nodule. Impression: x", stop=["Impression"])
    assert sequence.text == "no nodule. " == "".join(pieces) and sequence.finish == "stop"
    sequence, pieces = written("an Imp", stop=["Impression"])
    assert sequence.text == "an Imp" == "".join(pieces)
    assert pieces[-1] == "Imp"  # held back until it was sure


def test_length_deadline_and_cancelling_end_an_answer() -> None:
    assert written("abc", max_new_tokens=2)[0].finish == "length"
    sequence = SequenceState(GenerationOptions(), frozenset(), spell, deadline=0.0)
    sequence.take(97)
    assert sequence.finish == "deadline"
    sequence = SequenceState(GenerationOptions(), frozenset(), spell, cancelled=lambda: True)
    sequence.take(97)
    assert sequence.finish == "cancelled" and sequence.text == "a"


def test_sampling_follows_the_probabilities() -> None:
    logits = torch.tensor([0.5, 0.3, 0.2]).log()
    sequence = SequenceState(GenerationOptions(temperature=1.0, top_p=0.75), frozenset(), spell)
    drawn = torch.stack([sequence.adjust(logits).argmax() for _ in range(4000)]).bincount(minlength=3) / 4000
    assert drawn[2] == 0  # the likeliest two hold 0.8 of the probability
    assert drawn[0] == pytest.approx(0.625, abs=0.03)

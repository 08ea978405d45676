"""The decoding loop against transformers' own, for every LLM family; what it saves is counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache, GenerationConfig
from transformers.cache_utils import DynamicLayer

from medmvl.engine import Engine, GenerationOptions
from medmvl.engine.key_value_cache import ROOM, GrowingLayer, growing_cache
from medmvl.models.collation import collate
from tests.engine.test_engine import REQUESTS
from tests.factories.engine import tiny_engine
from tests.factories.models import LLMS, prepare, tiny

LIMITS = (3, 40, 12, 25)


def conversations(processor: Any) -> list[Any]:
    asked = (
        ("ct:a", "xray:b", "Is there a nodule?"),
        ("no image",),
        ("ct:c", "Which lobe?"),
        ("xray:d", "Describe."),
    )
    return [prepare(processor, *parts) for parts in asked]


def by_transformers(engine: Engine, sample: Any, limit: int) -> list[int]:
    """Greedy tokens of one conversation by `generate`, up to the end of the turn."""
    batch = collate([sample], pad_id=int(engine.processor.tokenizer.pad_token_id), padding_side="left")
    stop = engine.processor.stop_token_ids
    never = [i for i in (engine.processor.image_token_id, engine.processor.volume_token_id) if i is not None]
    config = GenerationConfig(
        max_new_tokens=limit, do_sample=False, pad_token_id=0, eos_token_id=stop, suppress_tokens=never
    )
    with torch.inference_mode():
        out = engine.model.generate(**batch, generation_config=config)[
            0, batch["input_ids"].shape[1] :
        ].tolist()
    return out[: min((place for place, token in enumerate(out) if token in stop), default=len(out))]


@pytest.mark.parametrize("family", LLMS)
def test_every_family_decodes_as_transformers_does(family: str) -> None:
    model, processor = tiny(family)
    engine = Engine(model, processor)
    samples = conversations(processor)
    sequences = [engine.new_sequence(GenerationOptions(max_new_tokens=limit)) for limit in LIMITS]
    engine.decode_sequences(samples, sequences)
    for sample, sequence, limit in zip(samples, sequences, LIMITS, strict=True):
        assert sequence.tokens == by_transformers(engine, sample, limit)
    assert len({tuple(sequence.tokens[:3]) for sequence in sequences}) > 1, family


def test_a_row_that_ends_leaves_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Engine = tiny_engine()
    rows: list[int] = []
    forward = engine.model.forward

    def counted(**inputs: Any) -> Any:
        rows.append(len(inputs["input_ids"]))
        return forward(**inputs)

    monkeypatch.setattr(engine.model, "forward", counted)
    prepared = [engine.prepare(request) for request in REQUESTS[:4]]
    limits = (1, 2, 2, 9)
    sequences = [engine.new_sequence(GenerationOptions(max_new_tokens=limit)) for limit in limits]
    engine.decode_sequences(prepared, sequences)
    assert [len(sequence.tokens) for sequence in sequences] == list(limits)
    assert rows == [4, 3, *[1] * 7]


def test_one_question_about_a_new_scan_is_read_in_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    engine: Engine = tiny_engine()
    engine.inputs.prefixes.clear()
    lengths: list[int] = []
    forward = engine.model.forward

    def counted(**inputs: Any) -> Any:
        lengths.append(inputs["input_ids"].shape[1])
        return forward(**inputs)

    monkeypatch.setattr(engine.model, "forward", counted)
    options = GenerationOptions(max_new_tokens=1)
    first = engine.answer([REQUESTS[1]], options)[0]
    again = engine.answer([REQUESTS[1]], options)[0]
    assert first.tokens == again.tokens
    assert lengths[0] == first.num_prompt_tokens and len(lengths) == 2 and lengths[1] < lengths[0]


def test_a_growing_layer_holds_what_a_dynamic_one_does() -> None:
    generator = torch.Generator().manual_seed(0)
    ours, theirs = GrowingLayer(), DynamicLayer()
    for new in (5, ROOM - 5, 1, 1, 80, 1):
        keys, values = (torch.randn(3, 2, new, 4, generator=generator) for _ in range(2))
        for found, wanted in zip(ours.update(keys, values), theirs.update(keys, values), strict=True):
            assert torch.equal(found, wanted)
        if new == 80:
            for layer in (ours, theirs):
                layer.crop(-7)
                layer.reorder_cache(torch.tensor([2, 0, 1]))
    assert ours.get_seq_length() == theirs.get_seq_length() == 140


def test_appending_does_not_copy_what_is_there() -> None:
    layer = GrowingLayer()
    layer.update(torch.zeros(1, 1, 10, 2), torch.zeros(1, 1, 10, 2))
    place = layer.keys.data_ptr()
    for _ in range(ROOM):
        layer.update(torch.ones(1, 1, 1, 2), torch.ones(1, 1, 1, 2))
    assert layer.keys.data_ptr() == place and float(layer.keys.sum()) == 2 * ROOM


def test_layers_that_keep_no_full_history_stay_as_they_are() -> None:
    model, _ = tiny("mistral")
    model.config.llm.sliding_window = 8
    kinds = {type(layer) for layer in growing_cache(model.config.llm).layers}
    assert kinds == {type(layer) for layer in DynamicCache(config=model.config.llm).layers} != {DynamicLayer}

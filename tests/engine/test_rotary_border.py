"""LLMs whose positions depend on what shares a pass (LongRoPE), or on padding (MPT): nothing of that changes an answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from medmvl.engine import Engine, GenerationOptions, Request
from medmvl.engine.likelihood import candidate_logprobs
from medmvl.models.causal_attention import is_purely_causal
from medmvl.models.collation import collate
from medmvl.models.rotary_border import border_of, sides
from tests.factories.models import IMAGES_ONLY, LLMS, conversation, image_of, prepare, tiny

BORDER = 40
LONGROPE = {
    **LLMS["phi3"], "original_max_position_embeddings": BORDER,
    "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 6, "long_factor": [4.0] * 6},
}  # fmt: skip
MPT = {"model_type": "mpt", "d_model": 24, "n_layers": 2, "n_heads": 2, "max_seq_len": 512}
SHORT, NEAR, LONG = ("?",), ("Is there a nodule?" + "?" * 9,), ("Describe the findings. " * 6,)
OPTIONS = GenerationOptions(max_new_tokens=12, logprobs=0)


def asked(processor: Any, *content: str) -> Request:
    return Request(tuple(conversation(*content)), processor.visual_loader(image_of))


def without_cache(engine: Engine, sample: Any, count: int) -> tuple[list[int], list[float]]:
    """Greedy tokens and their log-probabilities, the whole text read again for each."""
    never = [engine.processor.image_token_id, engine.processor.volume_token_id]
    tokens: list[int] = []
    logprobs: list[float] = []
    for _ in range(count):
        longer = replace(
            sample, input_ids=torch.cat([sample.input_ids, torch.tensor(tokens, dtype=torch.long)])
        )
        with torch.no_grad():
            logits = engine.model(**collate([longer], pad_id=0), use_cache=False).logits[0, -1]
        logits[never] = -torch.inf
        tokens.append(int(logits.argmax()))
        logprobs.append(float(logits.log_softmax(-1).max()))
    return tokens, logprobs


def check_alone(model: Any, processor: Any, *questions: tuple[str, ...]) -> None:
    """A batch, and one question after another, give what reading without batch and cache does."""
    requests = [asked(processor, *question) for question in questions]
    together = Engine(model, processor).answer(requests, OPTIONS)
    engine = Engine(model, processor)
    one_by_one = [engine.answer([request], OPTIONS)[0] for request in requests]
    for question, *answers in zip(questions, together, one_by_one, strict=True):
        expected, logprobs = without_cache(engine, prepare(processor, *question), len(answers[0].tokens))
        for answer in answers:
            assert list(answer.tokens) == expected, question
            assert [entry.logprob for entry in answer.logprobs] == pytest.approx(logprobs, abs=1e-4)


def test_neither_batch_nor_cache_nor_border_changes_an_answer() -> None:
    model, processor = tiny(LONGROPE, **IMAGES_ONLY)
    lengths = [len(prepare(processor, *words).input_ids) for words in (SHORT, NEAR, LONG)]
    assert lengths[0] + 12 <= BORDER and BORDER - 12 < lengths[1] < BORDER < lengths[2], lengths
    check_alone(model, processor, SHORT, NEAR, LONG)


def test_questions_about_one_scan_on_both_sides_of_the_border() -> None:
    model, processor = tiny(LONGROPE, **IMAGES_ONLY)
    questions = [
        ("xray:a", *words) for words in (SHORT, LONG, ("Is it new?",), ("Describe the findings. " * 7,))
    ]
    lengths = [len(prepare(processor, *question).input_ids) for question in questions]
    assert len(sides(lengths, BORDER)) == 2, lengths
    check_alone(model, processor, *questions)


def test_candidates_do_not_change_each_other() -> None:
    model, processor = tiny(LONGROPE, **IMAGES_ONLY)
    engine, choices = Engine(model, processor), ["No.", "Yes. It grew. " * 4]
    together = candidate_logprobs(engine, [asked(processor, *NEAR)], [choices])[0]
    alone = [candidate_logprobs(engine, [asked(processor, *NEAR)], [[choice]])[0][0] for choice in choices]
    assert together == pytest.approx(alone, abs=1e-3)


def test_beams_stay_on_one_side() -> None:
    model, processor = tiny(LONGROPE, **IMAGES_ONLY)
    engine = Engine(model, processor)
    beams = GenerationOptions(max_new_tokens=12, num_beams=2)
    refused = engine.try_answer([asked(processor, *NEAR)], beams)[0]
    assert "cross the 40 tokens after which this LLM turns positions otherwise" in getattr(
        refused, "error", ""
    )
    both = engine.answer([asked(processor, *SHORT), asked(processor, *LONG)], beams)
    alone = [engine.answer([asked(processor, *words)], beams)[0] for words in (SHORT, LONG)]
    assert [answer.tokens for answer in both] == [answer.tokens for answer in alone]


def test_samples_beyond_the_border_are_not_packed_with_others() -> None:
    model, _ = tiny(LONGROPE, **IMAGES_ONLY)
    config = model.llm.config
    assert border_of(config) == BORDER and border_of(tiny()[0].llm.config) is None
    assert is_purely_causal(config, BORDER) and not is_purely_causal(config, BORDER + 1)


def test_padding_after_a_shared_beginning_is_not_counted_by_an_llm_that_counts_places() -> None:
    model, processor = tiny(MPT, **IMAGES_ONLY)
    check_alone(model, processor, ("xray:a", *SHORT), ("xray:a", *LONG), ("xray:a", *NEAR))

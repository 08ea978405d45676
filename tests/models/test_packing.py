"""Samples in one row: what those about one scan begin with comes once, and nothing else changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.factories.models import prepare, tiny

from medmvl.models.packing import pack
from medmvl.models.visuals import ProcessedSample


def loss_and_gradients(model: Any, batch: Any) -> tuple[float, list[torch.Tensor | None]]:
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    loss = model(**batch).loss
    return loss.item(), list(torch.autograd.grad(loss, weights, allow_unused=True))


def assert_same(model: Any, processor: Any, samples: list[ProcessedSample]) -> None:
    wanted, gradients = loss_and_gradients(model, processor.collate(samples))
    scale = max(float(gradient.norm()) for gradient in gradients if gradient is not None)
    for batch in (pack(samples), pack(samples, share=False)):
        loss, found = loss_and_gradients(model, batch)
        assert loss == pytest.approx(wanted, rel=1e-5)
        for one, other in zip(gradients, found, strict=True):
            assert one is None or float((one - other).norm()) < 1e-5 * scale


def shared(samples: list[ProcessedSample]) -> list[tuple[int, int]]:
    """Per group the tokens that are shared, and by how many samples."""
    return [(shared, len(lengths)) for shared, lengths in pack(samples)["packed"]]


@pytest.mark.parametrize("family", ["qwen2", "llama"])
def test_questions_about_one_scan_share_it_and_the_loss_is_the_same(family: str) -> None:
    model, processor = tiny(family)
    model.train()
    samples = [
        prepare(processor, "ct:a", "Is there a nodule?", answer="Yes. 有"),
        prepare(processor, "xray:b", "Is the heart large?", answer="no"),
        prepare(processor, "ct:a", "Is there an effusion?", answer="a rather longer answer than the others"),
        prepare(processor, "no image", answer="none"),
        prepare(processor, "ct:a", "左侧?", answer="是"),
        prepare(processor, "xray:b", "Is the heart large?", answer="yes"),
    ]
    found = shared(samples)
    assert [members for _, members in found] == [3, 2, 1]
    ends = [sample.starts[0] + sample.visuals[0].num_tokens for sample in samples[:2]]
    assert ends[0] <= found[0][0] < ends[0] + 4, "the scan is shared, and the questions differ early"
    first_learned = int((samples[1].labels != -100).nonzero()[0])
    assert found[1][0] == first_learned - 1, (
        "an equal question is shared, too, but for the token that foretells the answer"
    )
    assert len(pack(samples)["visual_table"]) == 2
    assert_same(model, processor, samples)


def test_only_what_is_equal_is_shared() -> None:
    _, processor = tiny("qwen2")
    alone = [
        prepare(processor, "ct:a", "Is there a nodule?", answer="yes"),
        prepare(processor, "ct:b", "Is there a nodule?", answer="yes"),
        prepare(processor, "before", "ct:a", "Is there a nodule?", answer="yes"),
        prepare(processor, "ct:a", "ct:b", "Did it grow?", answer="yes"),
        prepare(processor, "ct:b", "ct:a", "Did it grow?", answer="yes"),
        prepare(processor, "ct:a", system="Answer briefly.", answer="yes"),
    ]
    assert shared(alone) == [(0, 1)] * len(alone)


def test_several_visuals_are_shared_together() -> None:
    model, processor = tiny("qwen2")
    model.train()
    samples = [
        prepare(processor, "ct:a", "and", "ct:b", "Did it grow?", answer="yes"),
        prepare(processor, "ct:a", "and", "ct:b", "Is it new?", answer="no, it was there before"),
    ]
    assert [members for _, members in shared(samples)] == [2]
    assert len(pack(samples)["visual_table"]) == 2
    assert_same(model, processor, samples)


def test_a_visual_that_the_question_guides_is_not_shared() -> None:
    model, processor = tiny("qwen2", volume_connector={"type": "text_selection", "keep": 3})
    model.train()
    samples = [prepare(processor, "ct:a", text, answer="yes") for text in ("Is it large?", "Is it small?")]
    assert all(sample.visuals[0].question_ids is not None for sample in samples)
    assert shared(samples) == [(0, 1), (0, 1)]
    assert_same(model, processor, samples)

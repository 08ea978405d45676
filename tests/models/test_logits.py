"""Logits at supervised positions are the LLM's own, whatever it does to them, and the loss is their cross entropy."""

from typing import Any

import pytest
import torch
from tests.factories.models import LLMS, differs, prepare, tiny
from torch.nn import functional

from medmvl.models.visual_table import to_rows
from medmvl.models.visuals import IGNORED_LABEL


@pytest.fixture(scope="module", params=LLMS)
def case(request: pytest.FixtureRequest) -> tuple[Any, Any]:
    """A model and a right-padded batch: two visuals, a later turn, a text-only row."""
    model, processor = tiny(request.param)
    samples = [
        prepare(processor, "ct:a", "xray:b", "Is there a nodule?", answer="Yes. 有"),
        prepare(processor, "no image", answer="a rather longer answer than the other one"),
    ]
    return model, processor.collate(samples)


def full_logits(model: Any, batch: Any) -> torch.Tensor:
    """All logits, from the LLM itself, `(B, L, vocabulary)`."""
    unlabelled = {key: value for key, value in batch.items() if key != "labels"}
    with torch.no_grad():
        logits: torch.Tensor = model(**unlabelled).logits
    return logits


def test_selected_logits_are_those_of_the_whole_llm(case):
    model, batch = case
    with torch.no_grad():
        selected = model(**batch).logits
    keep = batch["labels"][:, 1:] != IGNORED_LABEL
    expected = full_logits(model, batch)[:, :-1][keep]
    assert selected.shape == expected.shape
    assert differs(selected, expected) < 1e-5
    assert expected.std() > 0.01, "the comparison would hold for constant logits"


def test_full_logits_are_those_of_the_llm_on_embeddings(case):
    model, batch = case
    embeddings = model.get_input_embeddings()(batch["input_ids"])
    visual = model.encode(
        batch["pixel_values"],
        batch["pixel_values_volumes"],
        batch["visual_table"],
        batch["volume_positions_mm"],
    )
    for row, tokens in zip(to_rows(batch["visual_table"]), visual, strict=True):
        embeddings[row.row, row.start : row.start + row.length] = tokens
    with torch.no_grad():
        expected = model.llm(inputs_embeds=embeddings, attention_mask=batch["attention_mask"]).logits
    assert differs(full_logits(model, batch), expected) < 1e-6


def test_the_loss_is_the_mean_cross_entropy_of_the_full_logits(case):
    model, batch = case
    logits, labels = full_logits(model, batch)[:, :-1], batch["labels"][:, 1:]
    naive = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED_LABEL)
    with torch.no_grad():
        assert model(**batch).loss == pytest.approx(float(naive), rel=1e-5)


def test_the_loss_is_divided_by_the_tokens_of_all_ranks_and_steps(case):
    model, batch = case
    count = int((batch["labels"] != IGNORED_LABEL).sum())
    with torch.no_grad():
        mean = float(model(**batch).loss)
        assert float(model(**batch, num_items_in_batch=torch.tensor(5 * count)).loss) == pytest.approx(
            mean / 5
        )


def test_the_families_really_cap_and_scale():
    """Without their own head a naive one would differ: the equality above is not empty."""
    for name, changed in {
        "gemma2": {"final_logit_softcapping": None}, "cohere": {"logit_scale": 1.0}, "granite": {"logits_scaling": 1.0},
    }.items():  # fmt: skip
        model, processor = tiny(name)
        other, _ = tiny({**LLMS[name], **changed})
        batch = processor.collate([prepare(processor, "hello", answer="yes")])
        with torch.no_grad():
            assert differs(model(**batch).logits, other(**batch).logits) > 0.01, name


def test_an_llm_that_cannot_select_gives_the_same(case):
    model, batch = case
    assert model._llm_selects_logits
    with torch.no_grad():
        expected = model(**batch)
        model._llm_selects_logits = False
        try:
            found = model(**batch)
        finally:
            model._llm_selects_logits = True
    assert differs(found.logits, expected.logits) < 1e-5
    assert float(found.loss) == pytest.approx(float(expected.loss), rel=1e-6)

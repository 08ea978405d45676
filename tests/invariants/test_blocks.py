"""A block is bound to its own pixels: two of equal length cannot change places, of one patient or of two, unnoticed."""

from functools import cache
from itertools import combinations
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.factories.models import differs, prepare, tiny

contents = st.lists(
    st.lists(st.sampled_from(["ct:a", "ct:b", "ct:c", "xray:a", "xray:b", "text"]), min_size=1, max_size=4),
    min_size=1,
    max_size=3,
)


@cache
def parts() -> tuple[Any, Any]:
    return tiny()


def batch_of(conversations: list[list[str]]) -> Any:
    processor = parts()[1]
    return processor.collate([prepare(processor, *content, "?", answer="Yes.") for content in conversations])


def logits_of(batch: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = parts()[0](**batch).logits
    return logits


@settings(max_examples=20, deadline=None, derandomize=True)
@given(conversations=contents)
def test_no_two_visuals_of_a_batch_can_be_swapped(conversations):
    batch = batch_of(conversations)
    logits_of(batch)
    for kind in ("pixel_values", "pixel_values_volumes"):
        for first, second in combinations(range(len(batch.get(kind, ()))), 2):
            order = list(range(len(batch[kind])))
            order[first], order[second] = second, first
            pixels = [batch[kind][index] for index in order]
            swapped = {**batch, kind: torch.stack(pixels) if kind == "pixel_values" else pixels}
            with pytest.raises(ValueError, match="not those the processor bound"):
                logits_of(swapped)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(conversations=contents, seed=st.integers(0, 99))
def test_a_batch_gives_what_each_conversation_gives_alone(conversations, seed):
    """In whatever order the table's rows stand, and with pixels shared between rows."""
    batch = batch_of(conversations)
    if "visual_table" in batch:
        order = torch.randperm(len(batch["visual_table"]), generator=torch.Generator().manual_seed(seed))
        batch["visual_table"] = batch["visual_table"][order]
    alone = torch.cat([logits_of(batch_of([content])) for content in conversations])
    assert differs(logits_of(batch), alone) < 1e-4

"""The decoding loop: the likeliest token of every sequence, again and again, until all have ended.

A sequence that ends leaves the batch, so that the last long answer does not pay for the short ones. Sampling, forms and stop
texts are the sequences' own (`medmvl.engine.sequences`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from medmvl.engine.key_value_cache import growing_cache
from medmvl.engine.sequences import SequenceState
from medmvl.models.collation import Batch
from medmvl.models.modeling import MedMVLForConditionalGeneration

if TYPE_CHECKING:
    from transformers import Cache

FULL_ENOUGH = 0.75
"""Rows leave the cache, which copies it, once this share or less of them is still decoded."""


def decode(
    model: MedMVLForConditionalGeneration,
    inputs: Batch,
    sequences: Sequence[SequenceState],
    never: Sequence[int],
    after_prompt: Callable[[Cache], None],
    border: int | None = None,
) -> None:
    """Decode a batch to its end, or to where a row crosses a border.

    Args:
        model: in evaluation mode; called without gradients.
        inputs: `input_ids` and `attention_mask` `(B, L)`, padded anywhere but at the end, and the visuals as `forward`
            takes them; the first tokens are in `past_key_values` already where it is given.
        sequences: one per row, or equally many for each row, those of a row next to each other: its prompt is read once; they
            hold the answers afterwards.
        never: token ids that are not answers.
        after_prompt: called with the cache when it holds the prompts alone.
        border: most tokens that may be in the cache of a row; one that has more to read leaves the batch unfinished.
    """
    rows = list(sequences)
    mask = inputs["attention_mask"]
    outputs = model(**_first_step(model, inputs), use_cache=True, logits_to_keep=1)
    after_prompt(outputs.past_key_values)
    logits = outputs.logits[:, -1]
    if len(rows) > len(mask):
        mask, logits = _repeated(len(rows) // len(mask), outputs.past_key_values, mask, logits)
    while True:
        tokens = choose(logits, rows, never)
        for row, token in zip(rows, tokens.tolist(), strict=True):
            row.take(token)
        alive = [index for index, row in enumerate(rows) if row.finish is None]
        if border is not None:
            full = (mask.sum(1) >= border).tolist()
            alive = [index for index in alive if not full[index]]
        if not alive:
            return
        cache = outputs.past_key_values
        if len(alive) <= FULL_ENOUGH * len(rows) or (border is not None and len(alive) < len(rows)):
            kept = torch.tensor(alive, device=tokens.device)
            cache.reorder_cache(kept)
            rows, tokens, mask = [rows[index] for index in alive], tokens[kept], mask[kept]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        outputs = model(
            input_ids=tokens[:, None],
            attention_mask=mask,
            position_ids=mask.sum(1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits = outputs.logits[:, -1]


def _repeated(times: int, cache: Cache, mask: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Repeat each row of what was read, in the cache itself: several answers begin where one prompt ends."""
    copies = torch.arange(len(mask), device=mask.device).repeat_interleave(times)
    cache.reorder_cache(cast(torch.LongTensor, copies))
    return mask[copies], logits[copies]


def choose(logits: Tensor, rows: Sequence[SequenceState], never: Sequence[int]) -> Tensor:
    """The next token of every row, `(B,)`, from `logits` `(B, vocabulary)`, which are changed."""
    logits[:, list(never)] = -math.inf
    tokens = logits.argmax(-1)
    for index, row in enumerate(rows):
        if row.finish is None and row.reads_logits:
            tokens[index] = row.adjust(logits[index]).argmax()
    return tokens


def _first_step(model: MedMVLForConditionalGeneration, inputs: Batch) -> Batch:
    """The prompt, or what of it is not in the cache yet; positions count from the first token that is not padding."""
    positions = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    cache = inputs.get("past_key_values")
    if cache is None:
        cache = growing_cache(model.config.get_text_config())
    known = cache.get_seq_length()
    return {
        **inputs, "input_ids": inputs["input_ids"][:, known:], "position_ids": positions[:, known:], "past_key_values": cache,
    }  # fmt: skip

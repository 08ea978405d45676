"""A pass with labels: logits, and with them the loss, at the positions that predict a supervised token, nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from medmvl.models.answer_logprobs import Sampling, TokenLogprobs, chunked_logprobs, token_logprobs
from medmvl.models.answer_loss import chunked_loss, head_of


@dataclass
class AnswerOutput(CausalLMOutputWithPast):
    """What a pass with labels gives; the tokens are the supervised ones of all rows, in order."""

    token_losses: Tensor | None = None
    """`(tokens,)` float32: cross entropy of each, without gradient."""
    predicted: Tensor | None = None
    """`(tokens,)` long: the likeliest id in place of each; None while gradients are computed."""
    token_logprobs: TokenLogprobs | None = None
    """Log-probabilities, where they are asked for in place of a loss."""


def answer_output(
    llm: PreTrainedModel,
    inputs: Mapping[str, Any],
    labels: Tensor,
    positions: Tensor,
    num_items_in_batch: Tensor | int | None,
    *,
    with_logits: bool,
    selects_logits: bool,
    sampling: Sampling | None = None,
) -> AnswerOutput:
    """Run an LLM and compare its answers.

    Args:
        llm: a causal LLM of transformers.
        inputs: what its `forward` takes.
        labels: `(B, L)`.
        positions: what `answer_loss.supervised_positions` says of them.
        num_items_in_batch: what the summed loss is divided by; None: the supervised tokens of this batch.
        with_logits: whether the output holds logits; without them the loss is computed in chunks where the head allows it.
        selects_logits: whether the LLM takes `logits_to_keep`.
        sampling: log-probabilities under this distribution are asked for, and no loss.
    """
    targets = labels.flatten().index_select(0, positions + 1)
    count = len(targets) if num_items_in_batch is None else num_items_in_batch
    head = None if with_logits else head_of(llm)
    logits = None
    if head is not None:
        outputs = llm.base_model(**inputs)
        hidden = outputs.last_hidden_state.flatten(0, 1).index_select(0, positions)
        if sampling is not None:
            return AnswerOutput(token_logprobs=chunked_logprobs(hidden, targets, head, sampling))
        loss, losses, predicted = chunked_loss(hidden, targets, head, count)
    else:
        keep = torch.zeros_like(labels, dtype=torch.bool).flatten().index_fill(0, positions, True)
        keep = keep.view_as(labels)
        outputs = llm(**inputs, logits_to_keep=keep) if selects_logits else llm(**inputs)
        logits = outputs.logits if selects_logits else outputs.logits[keep]
        if sampling is not None:
            return AnswerOutput(token_logprobs=token_logprobs(logits.float(), targets, sampling))
        each = functional.cross_entropy(logits.float(), targets, reduction="none")
        loss, losses, predicted = each.sum() / count, each.detach(), logits.detach().argmax(-1)
    others = {name: outputs.get(name) for name in ("past_key_values", "hidden_states", "attentions")}
    return AnswerOutput(
        loss=loss,
        logits=logits if with_logits else None,
        token_losses=losses,
        predicted=predicted,
        **others,
    )

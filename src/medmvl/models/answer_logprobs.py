"""Log-probabilities of supervised tokens, in chunks: nothing of (all positions x vocabulary) ever exists, as in `answer_loss`.

The gradient of a token's log-probability is known only when the loss made of it is, so the backward pass computes the logits
of a chunk once more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from medmvl.models.answer_loss import Head, HeadGradients, computed_type, without_autocast

NOTHING = -1e9
"""Logit of what is never drawn: finite, so that its share of the entropy is 0."""


class Sampling(NamedTuple):
    """The distribution that tokens are drawn from."""

    temperature: float | Tensor = 1.0
    """One for all tokens, or `(tokens,)`."""
    never: tuple[int, ...] = ()
    """Token ids that are not drawn."""
    with_entropy: bool = True
    """True where its entropy is asked for."""

    def temperatures(self, targets: Tensor) -> Tensor:
        """`(tokens, 1)`."""
        if isinstance(self.temperature, Tensor):
            return self.temperature.to(targets.device)[:, None]
        return torch.full((len(targets), 1), self.temperature, device=targets.device)

    def of_chunk(self, temperatures: Tensor) -> Sampling:
        """The same for some of the tokens, with their `temperatures` `(rows, 1)`."""
        return self._replace(temperature=temperatures[:, 0]) if isinstance(self.temperature, Tensor) else self


class TokenLogprobs(NamedTuple):
    """Results of one pass for the supervised tokens, all rows in order."""

    logprobs: Tensor
    """`(tokens,)` at the temperature of sampling."""
    entropy: Tensor
    """`(tokens,)` of the distribution each was drawn from, 0 where it is not asked for; without gradient."""
    plain: Tensor
    """`(tokens,)` at temperature 1, as the engine reports them; without gradient."""


def token_logprobs(logits: Tensor, targets: Tensor, sampling: Sampling) -> TokenLogprobs:
    """Log-probabilities of `targets` `(tokens,)` by whole `logits` `(tokens, vocabulary)`."""
    column, as_is = targets[:, None], isinstance(sampling.temperature, float) and sampling.temperature == 1
    logits = logits.index_fill(1, _never(sampling, logits.device), NOTHING)
    spread = (logits if as_is else logits / sampling.temperatures(targets)).log_softmax(-1)
    logprobs = spread.gather(1, column)[:, 0]
    with torch.no_grad():
        entropy = -(spread.exp() * spread).sum(-1) if sampling.with_entropy else torch.zeros_like(logprobs)
        plain = logprobs if as_is else logits.log_softmax(-1).gather(1, column)[:, 0]
    return TokenLogprobs(logprobs, entropy, plain.detach())


def chunked_logprobs(hidden: Tensor, targets: Tensor, head: Head, sampling: Sampling) -> TokenLogprobs:
    """The same of hidden states `(tokens, width)`."""
    return TokenLogprobs(
        *_ChunkedLogprobs.apply(  # type: ignore[no-untyped-call]
            hidden, head.weight, head.bias, targets, head.factor, head.cap, sampling
        )
    )


def _never(sampling: Sampling, device: torch.device) -> Tensor:
    return torch.tensor(sampling.never, device=device, dtype=torch.long)


class _ChunkedLogprobs(torch.autograd.Function):
    """The log-probabilities at the temperature of sampling have a gradient, nothing else."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        factor: float,
        cap: float | None,
        sampling: Sampling,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Results of `token_logprobs` per chunk."""
        ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.head, ctx.sampling, ctx.computed = (factor, cap), sampling, computed_type(hidden)
        head = Head(weight, bias, factor, cap).to(ctx.computed)
        with without_autocast(hidden.device.type):
            found = [
                token_logprobs(logits, wanted, sampling.of_chunk(temperatures))
                for _, logits, wanted, temperatures in head.chunks(
                    hidden.to(ctx.computed), targets, sampling.temperatures(targets)
                )
            ]
        logprobs, entropy, plain = (torch.cat(parts) for parts in zip(*found, strict=True))
        ctx.mark_non_differentiable(entropy, plain)
        return logprobs, entropy, plain

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor, *others: Any) -> tuple[Tensor | None, ...]:
        """Each token's `slopes` `(tokens,)` times the gradient of its log-probability."""
        hidden, weight, bias, targets = ctx.saved_tensors
        factor, cap = ctx.head
        never = _never(ctx.sampling, hidden.device)
        head = Head(weight, bias, factor, cap).to(ctx.computed)
        gradients = HeadGradients(weight, bias, ctx.needs_input_grad[:3])
        with without_autocast(hidden.device.type):
            for chunk, logits, wanted, shares, temperatures in head.chunks(
                hidden.to(ctx.computed), targets, slopes[:, None], ctx.sampling.temperatures(targets)
            ):
                bent = head.bend(logits)
                slope = logits.index_fill_(1, never, NOTHING).div_(temperatures).softmax(-1).neg_()
                slope.scatter_add_(1, wanted[:, None], torch.ones_like(shares)).index_fill_(1, never, 0.0)
                slope = slope if bent is None else slope.mul_(bent)
                gradients.add(slope, shares * (factor / temperatures), chunk, head.weight)
        return (*gradients.finished(hidden.dtype), None, None, None, None)

"""Cross entropy at supervised positions, in chunks: nothing of (all positions x vocabulary) ever exists.

A chunk's logits become its gradient in place, and that goes into the gradients of head and hidden states at once, so the
backward pass finds them ready and no logit is computed twice (as Liger Kernel's fused loss, arXiv 2410.10989).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from medmvl.models.visuals import IGNORED_LABEL

if TYPE_CHECKING:
    from transformers import PreTrainedModel

CHUNK_BYTES = {"cpu": 32 << 20}
"""Bytes of a chunk's logits; where a type of device is not named, half a GiB: accelerators need larger products."""


def supervised_positions(labels: Tensor) -> Tensor:
    """`(tokens,)` long: where in the flat batch `(B, L)` the tokens are that predict a supervised one, in order."""
    targets = functional.pad(labels[:, 1:], (0, 1), value=IGNORED_LABEL)
    return (targets != IGNORED_LABEL).flatten().nonzero()[:, 0]


class Head(NamedTuple):
    """How an LLM makes logits of its last hidden states: a linear map, a factor, and a cap."""

    weight: Tensor
    bias: Tensor | None
    factor: float = 1.0
    cap: float | None = None

    def to(self, dtype: torch.dtype) -> Head:
        """The same map in another type."""
        bias = None if self.bias is None else self.bias.to(dtype)
        return self._replace(weight=self.weight.to(dtype), bias=bias)

    def chunks(self, hidden: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
        """As many hidden states `(tokens, width)` as CHUNK_BYTES allows, their float32 logits, and the rows of `others`."""
        rows = max(1, CHUNK_BYTES.get(self.weight.device.type, 512 << 20) // (4 * len(self.weight)))
        for chunk, *rest in zip(*(torch.split(each, rows) for each in (hidden, *others)), strict=True):
            logits = functional.linear(chunk, self.weight, self.bias).float()
            if self.factor != 1:
                logits.mul_(self.factor)
            if self.cap is not None:
                logits.div_(self.cap).tanh_().mul_(self.cap)
            yield chunk, logits, *rest

    def bend(self, logits: Tensor) -> Tensor | None:
        """Slope of the cap at capped logits; None without one."""
        return None if self.cap is None else 1.0 - (logits / self.cap).square_()


def head_of(llm: PreTrainedModel) -> Head | None:
    """The head of an LLM of a tested family; None where its own code must make the logits.

    That is an untested family, and a head that is adapted, quantised or sharded.
    """
    head, config = llm.get_output_embeddings(), llm.config
    if config.model_type not in _FACTORS or type(head) is not nn.Linear:
        return None
    if type(head.weight) not in (Tensor, nn.Parameter) or head.weight.shape != (
        head.out_features,
        head.in_features,
    ):
        return None
    return Head(head.weight, head.bias, _FACTORS[config.model_type](config), getattr(config, _CAP, None))


_CAP = "final_logit_softcapping"
_FACTORS = {
    "cohere": lambda config: float(config.logit_scale),
    "gemma2": lambda config: 1.0,
    "gemma3_text": lambda config: 1.0,
    "granite": lambda config: 1.0 / float(config.logits_scaling),
    "llama": lambda config: 1.0,
    "mistral": lambda config: 1.0,
    "phi3": lambda config: 1.0,
    "qwen2": lambda config: 1.0,
    "qwen3": lambda config: 1.0,
}  # fmt: skip
"""Factor on the logits of a family; equality with its own logits is tested for each (tests/models)."""


def chunked_loss(
    hidden: Tensor, targets: Tensor, head: Head, count: Tensor | int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Cross entropy of hidden states `(tokens, width)`.

    Returns:
        The sum divided by `count`; the loss of each token; the likeliest ids, None where gradients are computed.
    """
    share = 1.0 / torch.as_tensor(count, dtype=torch.float32, device=hidden.device)
    found: tuple[Tensor, Tensor, Tensor | None] = _ChunkedLoss.apply(  # type: ignore[no-untyped-call]
        hidden, head.weight, head.bias, targets, share, head.factor, head.cap, torch.is_grad_enabled()
    )
    return found


class _ChunkedLoss(torch.autograd.Function):
    """The mean of the losses has a gradient, nothing else."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        share: Tensor,
        factor: float,
        cap: float | None,
        learning: bool,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Losses now, and gradients with them."""
        computed = computed_type(hidden)
        head = Head(weight, bias, factor, cap).to(computed)
        needed = ctx.needs_input_grad[:3] if learning else (False, False, False)
        gradients = HeadGradients(weight, bias, needed)
        losses, predicted = [], []
        with without_autocast(hidden.device.type):
            for chunk, logits, wanted in head.chunks(hidden.to(computed), targets):
                if not gradients.needed:
                    predicted.append(logits.argmax(-1))
                bent = head.bend(logits) if gradients.needed else None
                loss, sums = _losses(logits, wanted)
                losses.append(loss)
                if gradients.needed:
                    logits.scatter_add_(1, wanted[:, None], -sums)
                    slope = logits if bent is None else logits.mul_(bent)
                    gradients.add(slope, share * factor / sums, chunk, head.weight)
        ctx.found = gradients.finished(hidden.dtype)
        each, likeliest = torch.cat(losses), torch.cat(predicted) if predicted else None
        ctx.mark_non_differentiable(each, *(() if likeliest is None else (likeliest,)))
        return each.sum() * share, each, likeliest

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *others: Any) -> tuple[Tensor | None, ...]:
        """What `forward` found, times the gradient of the mean, which mostly is 1."""
        assert ctx.found is not None, "a chunked loss goes back once"
        found, ctx.found = ctx.found, None
        if gradient.device.type != "cpu" or gradient.item() != 1.0:  # a device is not waited for
            found = [None if part is None else part.mul_(gradient.to(part.dtype)) for part in found]
        return (*found, None, None, None, None, None)


def computed_type(hidden: Tensor) -> torch.dtype:
    """The type that logits of hidden states are computed in."""
    device = hidden.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return hidden.dtype


@contextmanager
def without_autocast(device: str) -> Iterator[None]:
    """What the block computes has the types that are written there; `device` is a type of device."""
    if not torch.amp.is_autocast_available(device):
        yield
        return
    with torch.autocast(device, enabled=False):
        yield


def _losses(logits: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of each row, and in place of the logits their exponentials, whose sums `(rows, 1)` come back, too."""
    logits.sub_(logits.amax(-1, keepdim=True))
    picked = logits.gather(1, wanted[:, None])
    sums = logits.exp_().sum(-1, keepdim=True)
    return (sums.log() - picked)[:, 0], sums


class HeadGradients:
    """Gradients of hidden states, weight and bias, those that are needed, summed over chunks; weights in float32."""

    def __init__(self, weight: Tensor, bias: Tensor | None, needed: tuple[bool, bool, bool]) -> None:
        self.needed = any(needed)
        self._wanted = (needed[0], needed[1], needed[2] and bias is not None)
        self._types = weight.dtype, weight.dtype if bias is None else bias.dtype
        self._hidden: list[Tensor] = []
        self._weight: Tensor | None = None
        self._bias: Tensor | None = None

    def add(self, slope: Tensor, shares: Tensor, chunk: Tensor, matrix: Tensor) -> None:
        """What one chunk gives: `slope` `(rows, vocabulary)` times `shares` `(rows, 1)`, which go to small matrices."""
        if self._wanted[2]:
            part = (slope * shares).sum(0)
            self._bias = part if self._bias is None else self._bias.add_(part)
        rounded = slope.to(chunk.dtype)
        if self._wanted[0]:
            self._hidden.append((rounded @ matrix).float().mul_(shares))
        if self._wanted[1]:
            scaled = (chunk * shares).to(chunk.dtype)
            if self._weight is None:
                self._weight = (rounded.T @ scaled).float()
            elif chunk.dtype == torch.float32:
                self._weight.addmm_(rounded.T, scaled)
            else:
                self._weight += rounded.T @ scaled

    def finished(self, dtype: torch.dtype) -> list[Tensor | None]:
        """Each in the type of what it belongs to."""
        hidden = torch.cat(self._hidden).to(dtype) if self._hidden else None
        weight = None if self._weight is None else self._weight.to(self._types[0])
        return [hidden, weight, None if self._bias is None else self._bias.to(self._types[1])]

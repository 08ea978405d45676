"""The `grpo` objective: answers that earn more than others to the same question become more likely.

GRPO (Shao et al., arXiv 2402.03300), with the variants of DAPO (Yu et al., 2503.14476) and Dr. GRPO (Liu et al., 2503.20783).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from medmvl.models.answer_logprobs import Sampling, TokenLogprobs
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.training.objectives import Metrics, Objective
from medmvl.training.policy_recipe import GroupPolicy
from medmvl.training.preference import switch_dropout_off

SPREAD = 1e-6
"""Spread of rewards below which a group counts as without spread."""
DEVIATION_FLOOR = 1e-4
"""Constant added to the deviation that advantages are divided by."""


class GroupRelativePolicy(Objective):
    """The clipped policy gradient of GRPO over tokens. Dropout is off: a ratio of two random networks would be noise."""

    def __init__(
        self, model: MedMVLForConditionalGeneration, settings: GroupPolicy, never: Sequence[int] = ()
    ) -> None:
        """`never` are token ids that the engine does not draw."""
        super().__init__(model)
        self.settings = settings
        self.sampling = Sampling(settings.temperature, tuple(never))
        switch_dropout_off(model)

    def forward(
        self,
        labels: Tensor,
        advantages: Tensor,
        weights: Tensor,
        old: Tensor | None = None,
        reference: Tensor | None = None,
        replayed: Tensor | None = None,
        num_items_in_batch: Tensor | None = None,
        **batch: Any,
    ) -> dict[str, Tensor]:
        """The loss of a micro batch, and what is watched of its tokens.

        Args:
            labels: `(rows, L)`, -100 but at answers' tokens.
            advantages: `(tokens,)`, the answer's at each of its tokens.
            weights: `(tokens,)`, see `token_weights`.
            old: `(tokens,)` log-probabilities when the answers were drawn; None: they are drawn with these weights.
            reference: `(tokens,)` log-probabilities at the stage's first weights; None where there is no KL term.
            replayed: `(tokens,)`, True at tokens that were not drawn: they are learned at temperature 1; None: all were drawn.
            num_items_in_batch: what the sum over tokens is divided by, of the whole batch.
            **batch: what the model takes.
        """
        found = self.tokens(labels, replayed, **batch)
        losses, watched = token_losses(found.logprobs, advantages, old, reference, self.settings)
        total = weights.sum() if num_items_in_batch is None else num_items_in_batch
        counted = (weights > 0).to(losses)
        sums = [counted.sum(), (counted * found.entropy).sum(), *((counted * one).sum() for one in watched)]
        return {
            "loss": (weights * losses).sum() / total,
            "logprobs": found.logprobs.detach(),
            "plain": found.plain,
            "watched": torch.stack(sums).detach().double(),
        }

    def tokens(self, labels: Tensor, replayed: Tensor | None = None, **batch: Any) -> TokenLogprobs:
        """Log-probabilities and entropy of the supervised tokens in one pass."""
        sampling = self.sampling
        if replayed is not None and self.settings.temperature != 1:
            temperatures = torch.where(replayed, 1.0, self.settings.temperature)
            sampling = sampling._replace(temperature=temperatures)
        found: TokenLogprobs = self.model(
            labels=labels, sampling=sampling, use_cache=False, **batch
        ).token_logprobs
        return found

    def metrics(self, totals: Tensor, question_types: Sequence[str | None]) -> Metrics:
        """From reward, length and truncation of each sample's greedy answer: means, and the reward per type of question."""
        reward, length, truncated = totals.mean(0).tolist()
        metrics = {"reward": reward, "answer_length": length, "truncated": truncated}
        types = sorted({one for one in question_types if one is not None})
        rows = {name: [i for i, one in enumerate(question_types) if one == name] for name in types}
        return metrics | {
            f"reward/{name}": totals[members, 0].mean().item() for name, members in rows.items()
        }


WATCHED = ("tokens", "entropy", "kl", "clip_low", "clip_high")
"""What `forward` sums over tokens: their number first, then what is shown per token."""


def token_losses(
    logprobs: Tensor,
    advantages: Tensor,
    old: Tensor | None,
    reference: Tensor | None,
    settings: GroupPolicy,
) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Loss of each token, `(tokens,)`, and without gradient its divergence and whether it was clipped below or above.

    The divergence from the reference is the k3 estimator (Schulman, "Approximating KL Divergence", 2020): without bias, and
    never below 0.
    """
    ratio = (logprobs - (logprobs.detach() if old is None else old)).exp()
    clipped = ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high)
    losses = -torch.minimum(ratio * advantages, clipped * advantages)
    divergence = torch.zeros_like(losses)
    if reference is not None:
        behind = reference - logprobs
        divergence = behind.exp() - behind - 1
        losses = losses + settings.kl * divergence
    low = (ratio < 1 - settings.clip_low) & (advantages < 0)
    high = (ratio > 1 + settings.clip_high) & (advantages > 0)
    return losses, (divergence.detach(), low.to(losses), high.to(losses))


def group_advantages(rewards: Tensor, settings: GroupPolicy) -> Tensor:
    """`(groups, answers)` of rewards to advantages: above the group's mean, in its deviations where the settings say so.

    The deviation is that of a sample, with `answers - 1` in the denominator. A group without spread has none: exactly 0.
    """
    above = rewards - rewards.mean(1, keepdim=True)
    if settings.divide_by_deviation:
        above = above / (rewards.std(1, keepdim=True) + DEVIATION_FLOOR)
    return above * has_spread(rewards)[:, None]


def has_spread(rewards: Tensor) -> Tensor:
    """`(groups,)`: whether the answers of a group earn differently."""
    return rewards.amax(1) - rewards.amin(1) > SPREAD


def token_weights(length: int, settings: GroupPolicy) -> float:
    """What each token of an answer of `length` tokens counts in the sum that is divided by `loss_items`."""
    return {"answer": 1 / length, "batch": 1.0, "constant": 1 / settings.max_new_tokens}[
        settings.length_normalisation
    ]


def loss_items(lengths: Sequence[int], counted: Sequence[bool], settings: GroupPolicy) -> int:
    """What the weighted sum over all tokens of a batch is divided by: answers, or those of their tokens that train.

    Args:
        lengths: tokens of every answer of the batch, over all processes.
        counted: whether an answer trains.
        settings: length normalisation.
    """
    if settings.length_normalisation != "batch":
        return len(lengths)
    return max(1, sum(length for length, one in zip(lengths, counted, strict=True) if one))


class FirstWeights:
    """The weights that a stage trains, as they were before its first step; all others are the model's own.

    Where a part is tuned by LoRA these are its adapters, which change nothing at first: the model without them.
    """

    def __init__(self, changing: dict[str, Tensor]) -> None:
        self._kept = {name: tensor.detach().clone() for name, tensor in changing.items()}

    @contextmanager
    def in_place_of(self, changing: dict[str, Tensor]) -> Iterator[None]:
        """Let the model compute with them during the block."""
        now = {name: tensor.data for name, tensor in changing.items()}
        try:
            for name, tensor in changing.items():
                tensor.data = self._kept[name]
            yield
        finally:
            for name, tensor in changing.items():
                tensor.data = now[name]

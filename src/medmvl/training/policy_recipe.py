"""Settings of the `grpo` objective: learning from rewards by groups of answers to one question."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from medmvl.schema.strict import StrictModel


class GroupPolicy(StrictModel):
    """Settings of the `grpo` objective.

    The defaults are GRPO (Shao et al., arXiv 2402.03300) with what DAPO (Yu et al., arXiv 2503.14476) changed: the upper bound
    of clipping, the mean over tokens, and no KL term. Dr. GRPO (Liu et al., arXiv 2503.20783) is `divide_by_deviation: false`
    with `length_normalisation: constant`.
    """

    group_size: int = Field(default=8, ge=2)
    """Answers to each prompt; an answer is compared with the mean of its group."""
    updates: PositiveInt = 1
    """Optimizer steps on each batch of answers; checkpoints are written after the last of them."""

    max_new_tokens: PositiveInt = 256
    """Longest answer in tokens."""
    temperature: PositiveFloat = Field(default=1.0, le=10)
    """Temperature of sampling; drawn answers train their log-probabilities at this temperature. Above 1, answers
    that have become rare come up again; replayed answers are learned at 1."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Share of probability that is sampled from; below 1, answers come from a distribution that is not the one that trains."""
    answers_at_once: PositiveInt | None = None
    """Answers that a process decodes at once; None: all of its share of the batch."""

    clip_low: float = Field(default=0.2, gt=0, lt=1)
    """How far the probability of a token may fall below that at sampling, as a share, before it no longer trains."""
    clip_high: PositiveFloat = 0.28
    """How far it may rise; 0.2 is GRPO's, 0.28 that of DAPO ("clip-higher")."""
    divide_by_deviation: bool = True
    """Divide what an answer earns above its group's mean by the group's standard deviation; Dr. GRPO does not."""
    length_normalisation: Literal["answer", "batch", "constant"] = "batch"
    """Divisor of the sum over an answer's tokens: its own length (GRPO), the tokens of the batch (DAPO), or
    `max_new_tokens` (Dr. GRPO)."""
    replay_weight: PositiveFloat = 1.0
    """Weight of the tokens of data with `replay: true`, against those of an answer whose advantage is 1."""
    kl: NonNegativeFloat = 0.0
    """Weight of the divergence from the stage's first weights, by the k3 estimator; 0: no reference is held."""

    refills: NonNegativeInt = 0
    """How often a prompt whose answers all earn the same is replaced by another (DAPO's dynamic sampling); what is without
    spread after that teaches nothing."""
    truncated: Literal["penalty", "mask", "score"] = "penalty"
    """Answers cut off at `max_new_tokens`: `penalty`: they earn 0; `mask`: they count in their group's mean and do not train;
    `score`: they earn what they say."""
    overlong_tokens: NonNegativeInt = 0
    """Tokens before `max_new_tokens` within which, with `penalty`, an answer's reward falls to 0 in a straight line."""

    @model_validator(mode="after")
    def _must_be_possible(self) -> GroupPolicy:
        if self.overlong_tokens and self.truncated != "penalty":
            raise ValueError(f"overlong_tokens is for truncated: penalty, not {self.truncated}")
        if self.overlong_tokens >= self.max_new_tokens:
            raise ValueError(
                f"overlong_tokens {self.overlong_tokens} is not less than max_new_tokens {self.max_new_tokens}"
            )
        return self

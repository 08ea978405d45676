"""What the engine is asked, and what it gives back: request, answer, failure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from medmvl.engine.sequences import Finish, TokenLogprob
from medmvl.json_types import JsonObject
from medmvl.models.visuals import VisualLoader
from medmvl.schema import Message, Sample
from medmvl.schema.reasoning import join_reasoning


@dataclass(frozen=True)
class Request:
    """A conversation that waits for its next assistant turn."""

    messages: tuple[Message, ...]
    load: VisualLoader
    """Gives what the model sees of a block, see `MedMVLProcessor.visual_loader`."""
    name: str = "question"
    """Name in errors: the sample's id, or the like."""
    owner: str = ""
    """Owner of the scans: nothing that was cached for one owner answers another."""

    @classmethod
    def from_sample(cls, sample: Sample, load: VisualLoader) -> Request:
        """Ask for the last turn of a sample."""
        return cls(sample.prompt().messages, load, sample.id)


Reason = Literal["input", "memory", "deadline", "cancelled", "internal"]
"""Why a request failed: bad input, memory, deadline, cancellation or an internal error."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model said."""

    text: str
    """The answer, without its reasoning; empty where the tokens ran out within it."""
    tokens: tuple[int, ...]
    """Generated ids, reasoning included, without the stop id."""
    seconds: float
    """Wall time of the batch this answer was decoded in, reading included."""
    seen: tuple[JsonObject, ...]
    """`ProcessedVisual.to_json` of each image or volume; no identity and no path."""
    finish: Finish
    """Reason for the end: the model ended its turn, ran out of `max_new_tokens`, was cancelled, or was out of time."""
    num_prompt_tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    """One per token, where the options ask for them."""
    reasoning: str | None = None
    """Text that the model wrote before the answer; None where it was not asked to reason."""
    num_reasoning_tokens: int = 0
    """Tokens before those of the answer."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader could not settle about the scans, each once."""
        return tuple(dict.fromkeys(warning for seen in self.seen for warning in seen["warnings"]))

    @property
    def probability(self) -> float | None:
        """How likely the whole answer was, token by token, after its reasoning; None without log-probabilities."""
        if not self.logprobs:
            return None
        return math.exp(sum(entry.logprob for entry in self.logprobs[self.num_reasoning_tokens :]))

    @property
    def unanswered(self) -> str | None:
        """Why there is no answer, where reasoning took all tokens or never ended; else None."""
        if self.reasoning is None or self.text.strip():
            return None
        why = "was cut" if self.finish in ("length", "deadline") else "ended the turn"
        return f"no answer: the reasoning {why} after {len(self.tokens)} tokens"

    @property
    def inline(self) -> str:
        """Reasoning and answer as one text, which rewards of form read."""
        return join_reasoning(self.reasoning or "", self.text)

    def to_json(self) -> JsonObject:
        """The keys of `medmvl generate --json`."""
        reasoning = {} if self.reasoning is None else {"reasoning": self.reasoning}
        return {
            **reasoning,
            "text": self.text,
            "tokens": list(self.tokens),
            "probability": self.probability,
            "seconds": round(self.seconds, 4),
            "seen": list(self.seen),
            "finish": self.finish,
        }


@dataclass(frozen=True)
class Failure:
    """Why one request could not be answered, while the others of its batch were."""

    name: str
    error: str
    reason: Reason = "input"

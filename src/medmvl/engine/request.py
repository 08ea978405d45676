"""What the engine is asked, and what it gives back: request, answer, failure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from medmvl.engine.sequences import Finish, TokenLogprob
from medmvl.schema import ImageBlock, Message, Sample, VolumeBlock

VisualBlock = ImageBlock | VolumeBlock
Load = Callable[[VisualBlock], Any]
"""Gives the `MedicalImage` of a block, or the `ProcessedVisual` that `MedMVLProcessor.process_visual` made of it before."""


@dataclass(frozen=True)
class Request:
    """A conversation that waits for its next assistant turn."""

    messages: tuple[Message, ...]
    load: Load
    """Gives the pixels of a visual block."""
    name: str = "question"
    """What errors call it: the sample's id, or the like."""
    owner: str = ""
    """Whose scans these are: nothing that was cached for one owner answers another."""

    @classmethod
    def from_sample(cls, sample: Sample, load: Load) -> Request:
        """Ask for the last turn of a sample."""
        return cls(sample.prompt().messages, load, sample.id)


Reason = Literal["input", "memory", "deadline", "cancelled", "internal"]
"""Why a request failed: bad input, memory, deadline, cancellation or an internal error."""


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model said."""

    text: str
    tokens: tuple[int, ...]
    """Generated ids, without the stop id."""
    seconds: float
    """Wall time of the batch this answer was decoded in, reading included."""
    seen: tuple[dict[str, Any], ...]
    """What the model looked at, one entry per image or volume; see `seen_of`. Holds no identity and no path."""
    finish: Finish
    """Whether the model ended its turn, ran out of `max_new_tokens`, was cancelled, or was out of time."""
    num_prompt_tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] = ()
    """One a token, where the options ask for them."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader could not settle about the scans, each once."""
        return tuple(dict.fromkeys(warning for seen in self.seen for warning in seen["warnings"]))

    @property
    def probability(self) -> float | None:
        """How likely the whole answer was, token by token; None without log-probabilities."""
        if not self.logprobs:
            return None
        return math.exp(sum(entry.logprob for entry in self.logprobs))

    def to_json(self) -> dict[str, Any]:
        """The keys of `medmvl generate --json`."""
        return {
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


def seen_of(visual: Any) -> dict[str, Any]:
    """What the model looked at, as plain values for JSON.

    Args:
        visual: a `ProcessedVisual`.

    Returns:
        `kind`, what was read (`shape`, `spacing_mm`, `units`, `modality` as the processor noted them),
        `model_shape` of the pixels, the encoder's `grid`, the `tokens` the LLM reads,
        `kept_share` of the encoder's tokens where unchanged patches are left out, `notes` such as the
        windows, the reader's `warnings`, and `matrix`, 4x4 from model voxel to canonical voxel.
    """
    return {
        "kind": visual.kind,
        **visual.source,
        "model_shape": list(visual.pixels.shape),
        "grid": list(visual.grid),
        "tokens": visual.num_tokens,
        "kept_share": round(visual.kept_share, 4),
        "notes": list(visual.notes),
        "warnings": list(visual.warnings),
        "matrix": visual.matrix.tolist(),
    }

"""What the engine is asked, and what it gives back: request, answer, failure, and what was seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medmvl.imaging import MedicalImage
from medmvl.schema import ImageBlock, Message, Sample, VolumeBlock

Load = Callable[[ImageBlock | VolumeBlock], MedicalImage]


@dataclass(frozen=True)
class Request:
    """A conversation that waits for its next assistant turn."""

    messages: tuple[Message, ...]
    load: Load
    """Gives the pixels of a visual block."""
    name: str = "question"
    """What errors call it: the sample's id, or the like."""

    @classmethod
    def from_sample(cls, sample: Sample, load: Load) -> Request:
        """Ask for the last turn of a sample."""
        return cls(sample.prompt().messages, load, sample.id)


@dataclass(frozen=True, eq=False)
class Seen:
    """What the model looked at for one image or volume. Holds no identity and no path."""

    kind: Literal["image", "volume"]
    source_format: str
    shape: tuple[int, ...]
    """Of the pixels read from the file, canonical array order."""
    spacing_mm: tuple[float, ...] | None
    units: str
    modality: str | None
    acquired_axcodes: tuple[str, ...] | None
    model_shape: tuple[int, ...]
    """Of the pixels given to the encoder: `(tiles, C, H, W)` or `(C, D, H, W)`."""
    grid: tuple[int, int, int]
    """Tokens of the encoder along depth, height, width."""
    tokens: int
    """Tokens the LLM reads."""
    windows: tuple[tuple[float, float], ...] | None
    """Centre and width of each channel's window; None where intensities were scaled otherwise."""
    matrix: NDArray[np.float64] | None
    """4x4, from model voxel to canonical voxel."""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = dict(self.__dict__)
        if self.matrix is not None:
            values["matrix"] = np.asarray(self.matrix, dtype=np.float64).tolist()
        return values


@dataclass(frozen=True, eq=False)
class Answer:
    """What the model said."""

    text: str
    tokens: tuple[int, ...]
    """Generated ids, without the stop id."""
    seconds: float
    """Wall time of the batch this answer was decoded in, reading included."""
    seen: tuple[Seen, ...]
    finish: Literal["stop", "length"]
    """Whether the model ended its turn, or ran out of `max_new_tokens`."""

    def to_json(self) -> dict[str, Any]:
        """The keys of `medmvl generate --json`."""
        return {
            "text": self.text,
            "tokens": list(self.tokens),
            "seconds": round(self.seconds, 4),
            "seen": [seen.to_json() for seen in self.seen],
        }


@dataclass(frozen=True)
class Failure:
    """Why one request could not be answered, while the others of its batch were."""

    name: str
    error: str

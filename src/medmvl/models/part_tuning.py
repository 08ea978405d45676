"""How each part is trained, typed: checked without torch, so that a mistake in a recipe is found at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from medmvl.models.part_names import PartName
from medmvl.schema.strict import StrictModel


class LoraOptions(StrictModel):
    """Size of the low-rank update, and where it goes."""

    rank: PositiveInt = 16
    """Rank of the update."""
    alpha: PositiveFloat = 32.0
    """Scale: the update counts `alpha / rank`."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout before the update."""
    targets: tuple[str, ...] | None = None
    """Linear layers of the part: last names such as `q_proj`, or patterns over whole names such as `*.layers.1?.*.q_proj`;
    None: all of the part except the LLM's head."""


class PartTuning(StrictModel):
    """How one part is trained. The word alone is short for `{mode: word}`."""

    mode: Literal["frozen", "full", "lora", "dora", "qlora", "last_k"]
    """Which weights of the part train. `qlora` is `lora` next to weights in 4 bits, whose values the saved model has."""
    learning_rate: PositiveFloat | None = None
    """Learning rate of the part; None: the stage's."""
    weight_decay: NonNegativeFloat | None = None
    """Weight decay of the part; None: the stage's. Norms, biases and embeddings never decay."""
    lora: LoraOptions = LoraOptions()
    """Options for `lora`, `dora` and `qlora`."""
    layers: PositiveInt | None = None
    """Number of last blocks that `last_k` trains, with what is between them and the norm after them."""

    @model_validator(mode="before")
    @classmethod
    def _a_word_is_a_mode(cls, value: object) -> object:
        return {"mode": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _last_k_needs_a_number(self) -> PartTuning:
        if (self.mode == "last_k") != (self.layers is not None):
            raise ValueError("last_k needs layers, how many blocks to train, and no other mode takes it")
        return self

    @model_validator(mode="after")
    def _nothing_without_effect(self) -> PartTuning:
        if self.lora != LoraOptions() and not self.adapts:
            raise ValueError(
                f"lora has options, but the mode is {self.mode}; they are for lora, dora and qlora"
            )
        for key, value in (("learning_rate", self.learning_rate), ("weight_decay", self.weight_decay)):
            if value is not None and self.mode == "frozen":
                raise ValueError(f"{key} {value:g} is for a part that trains, but the mode is frozen")
        return self

    @property
    def adapts(self) -> bool:
        """Whether low-rank updates are trained next to frozen weights."""
        return self.mode in ("lora", "dora", "qlora")


FROZEN = PartTuning(mode="frozen")


Tuning = Mapping[PartName, PartTuning]
"""Settings by the name of a part."""

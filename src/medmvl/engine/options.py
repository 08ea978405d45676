"""How an answer is decoded: greedy unless told otherwise."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveInt, model_validator

from medmvl.schema.blocks import Strict


class GenerationOptions(Strict):
    """Greedy by default; sampling with a temperature; beam search with more than one beam."""

    max_new_tokens: PositiveInt = 256
    temperature: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """0 is greedy."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    num_beams: PositiveInt = 1
    seed: int = 0
    """Of sampling; the same seed and the same batch give the same answers."""

    @model_validator(mode="after")
    def _one_way_of_decoding(self) -> GenerationOptions:
        if self.num_beams > 1 and self.sampled:
            raise ValueError(
                f"num_beams {self.num_beams} with temperature {self.temperature}; beams need no sampling: "
                "set the temperature to 0 or the beams to 1"
            )
        if self.top_p < 1.0 and not self.sampled:
            raise ValueError(f"top_p {self.top_p} without sampling: give a temperature above 0, such as 0.7")
        return self

    @property
    def sampled(self) -> bool:
        """Whether chance takes part."""
        return self.temperature > 0

    def arguments(self) -> dict[str, Any]:
        """The settings of transformers' `GenerationConfig`."""
        arguments: dict[str, Any] = {
            "max_new_tokens": self.max_new_tokens,
            "num_beams": self.num_beams,
            "do_sample": self.sampled,
        }
        if self.sampled:
            arguments |= {"temperature": self.temperature, "top_p": self.top_p, "top_k": 0}
        return arguments

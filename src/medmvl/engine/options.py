"""How an answer is decoded: greedy by default; free text unless a form is asked for."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from medmvl.errors import UserError
from medmvl.json_types import JsonObject
from medmvl.messages import did_you_mean
from medmvl.schema.strict import StrictModel

MAX_LOGPROBS = 20


class GenerationOptions(StrictModel):
    """Greedy by default; sampling with a temperature; beam search with more than one beam."""

    max_new_tokens: PositiveInt = 256
    shrink_to_fit: bool = False
    """Lower `max_new_tokens` to what the LLM's context has room for, instead of refusing the question."""
    temperature: Annotated[float, Field(ge=0.0, le=10.0)] = 0.0
    """0 is greedy."""
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    num_beams: PositiveInt = 1
    thinking: bool | None = None
    """True: reason before the answer; None: as the model was made. Reasoning counts to `max_new_tokens`; stop texts and form
    are those of the answer."""
    seed: int = 0
    """Seed for sampling; the same seed gives the same answer in any batch."""
    stop: tuple[str, ...] = ()
    """Texts that end the answer; they are not part of it."""
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    """Number of likeliest tokens to report at each position, next to the log-probability of the answer's token."""
    choices: tuple[str, ...] = ()
    """The answer is one of these."""
    regex: str | None = None
    """The answer matches this whole expression."""
    json_schema: str | None = None
    """The answer is JSON of this schema, given as JSON text or as a dict."""

    @field_validator("json_schema", mode="before")
    @classmethod
    def _schema_as_text(cls, given: object) -> object:
        return json.dumps(given) if isinstance(given, dict) else given

    @field_validator("choices", "stop", mode="before")
    @classmethod
    def _several(cls, given: object) -> object:
        return (given,) if isinstance(given, str) else given

    @classmethod
    def from_arguments(cls, **given: Any) -> GenerationOptions:
        """Options from keyword arguments.

        Raises:
            UserError: naming each wrong one.
        """
        for name in given:
            if name not in cls.model_fields:
                known = list(cls.model_fields)
                meant = did_you_mean(name, [*known, "images", "volumes", "priors"])
                raise UserError(f"unknown option {name!r}{meant or '.'} Known: {', '.join(known)}")
        if isinstance(text := given.get("choices"), str):
            parts = tuple(part.strip() for part in text.split(","))
            raise UserError(
                f"choices={text!r} is one text, which leaves no choice; give several, such as {parts}"
            )
        try:
            return cls(**given)
        except ValidationError as error:
            problems = error.errors(include_url=False)
            lines = [
                ": ".join([*map(str, problem["loc"]), problem["msg"].removeprefix("Value error, ")])
                for problem in problems
            ]
            raise UserError("; ".join(lines)) from None

    @model_validator(mode="after")
    def _one_way_of_decoding(self) -> GenerationOptions:
        if self.num_beams > 1 and self.sampled:
            raise ValueError(
                f"num_beams {self.num_beams} with temperature {self.temperature}; beams need no sampling: "
                "set the temperature to 0 or the beams to 1"
            )
        if self.top_p < 1.0 and not self.sampled:
            raise ValueError(f"top_p {self.top_p} without sampling: give a temperature above 0, such as 0.7")
        if self.num_beams > 1 and (self.stop or self.logprobs is not None or self.constrained):
            raise ValueError(
                "beams know neither stop, logprobs, choices, regex nor json_schema; set num_beams to 1"
            )
        return self

    @model_validator(mode="after")
    def _one_form(self) -> GenerationOptions:
        forms = {"choices": self.choices, "regex": self.regex, "json_schema": self.json_schema}
        given = [name for name, value in forms.items() if value]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: give one form of the answer, not several")
        if "" in (*self.stop, *self.choices):
            raise ValueError("stop and choices must not hold an empty text")
        if self.json_schema is not None and not _is_json(self.json_schema):
            raise ValueError("json_schema is not JSON")
        return self

    @property
    def sampled(self) -> bool:
        """Whether tokens are sampled."""
        return self.temperature > 0

    @property
    def constrained(self) -> bool:
        """Whether the answer is restricted to choices, an expression or a schema."""
        return bool(self.choices or self.regex or self.json_schema)

    def arguments(self) -> JsonObject:
        """The settings of transformers' `GenerationConfig` for beam search."""
        return {"max_new_tokens": self.max_new_tokens, "num_beams": self.num_beams, "do_sample": False}


GREEDY = GenerationOptions()
"""Options of an evaluation, and the default everywhere."""


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True

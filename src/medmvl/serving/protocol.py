"""The chat completions protocol of OpenAI as far as it is served, and volumes as one more kind of content.

What a field means is in the public reference of the OpenAI API; fields that are unknown or not served are refused by name.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from medmvl.engine.options import MAX_LOGPROBS, GenerationOptions
from medmvl.errors import UserError
from medmvl.serving.settings import Limits


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextPart(_Part):
    """Words."""

    type: Literal["text"]
    text: str


class ImageUrl(_Part):
    """A picture inside the request; addresses are never fetched."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(_Part):
    """A 2D image."""

    type: Literal["image_url"]
    image_url: ImageUrl


class Reference(_Part):
    """An uploaded study by `file_id`, or its bytes as a data URI in `data`; exactly one."""

    file_id: str | None = None
    data: str | None = None
    select: str = Field(default="", pattern=r"^((series|frame|time)=\d{1,6})?$")
    """`series=2`, `frame=3` or `time=1`, where `data` holds several."""
    days_before_current: int | None = Field(default=None, ge=0)
    """For a prior study: days before the current one."""

    @model_validator(mode="after")
    def _one(self) -> Reference:
        if (self.file_id is None) == (self.data is None):
            raise ValueError("give exactly one of file_id and data")
        return self


class VolumePart(_Part):
    """A 3D volume."""

    type: Literal["volume"]
    volume: Reference


class FilePart(_Part):
    """An uploaded study, image or volume, whichever it is."""

    type: Literal["file"]
    file: Reference


Part = Annotated[TextPart | ImagePart | VolumePart | FilePart, Field(discriminator="type")]


class ChatMessage(_Part):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[Part] | None = None
    name: str | None = None
    refusal: None = None


class JsonSchema(_Part):
    """A named schema."""

    name: str = "answer"
    schema_: dict[str, Any] = Field(default_factory=dict, alias="schema")
    strict: bool | None = None
    description: str | None = None


class ResponseFormat(_Part):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None


class StreamOptions(_Part):
    """What a stream tells besides the text."""

    include_usage: bool | None = None


class ChatRequest(_Part):
    """The body of `/v1/chat/completions`."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | list[str] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS)
    response_format: ResponseFormat | None = None
    guided_choice: list[str] | None = None
    """Not OpenAI's: the answer is one of these."""
    guided_regex: str | None = None
    """Not OpenAI's: the answer matches this whole expression."""
    user: str | None = None
    store: Literal[False] | None = None

    def options(self, limits: Limits) -> list[GenerationOptions]:
        """How each of the `n` answers is decoded; they differ in their seeds.

        Raises:
            UserError: more is asked than the limits allow, or two forms at once.
        """
        count = self.n or 1
        if count > limits.answers:
            raise UserError(f"n is {count}; at most {limits.answers} answers are given to one question")
        wanted = self.max_completion_tokens or self.max_tokens or min(256, limits.new_tokens)
        temperature = 0.0 if self.temperature is None else self.temperature
        top_p = 1.0 if self.top_p is None or temperature == 0 else self.top_p
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        settings = {
            "max_new_tokens": min(wanted, limits.new_tokens),
            "temperature": temperature,
            "top_p": top_p,
            "stop": tuple(text for text in stop if text),
            "logprobs": (self.top_logprobs or 0) if self.logprobs else None,
            "choices": tuple(self.guided_choice or ()),
            "regex": self.guided_regex,
            "json_schema": self._schema(),
        }
        return [
            GenerationOptions.model_validate({**settings, "seed": (self.seed or 0) + number})
            for number in range(count)
        ]

    def _schema(self) -> str | None:
        form = self.response_format
        if form is None or form.type == "text":
            return None
        if form.type == "json_object":
            return json.dumps({"type": "object"})
        if form.json_schema is None:
            raise UserError("response_format json_schema needs its json_schema")
        return json.dumps(form.json_schema.schema_)

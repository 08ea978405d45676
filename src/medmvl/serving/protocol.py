"""The chat completions protocol of OpenAI as far as it is served, and volumes as one more type of content.

What a field means is in the public reference of the OpenAI API. A field that is not served is taken at the value that
changes nothing, as many clients send every field; otherwise it is refused by name, as an unknown one is.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from medmvl.engine.options import MAX_LOGPROBS, GenerationOptions
from medmvl.errors import UserError
from medmvl.imaging.selector import parse_selector
from medmvl.json_types import JsonObject
from medmvl.schema.jsonl import what_is_wrong
from medmvl.schema.strict import StrictModel
from medmvl.serving.neutral import Unserved
from medmvl.serving.settings import Limits

MAX_SCHEMA_BYTES = 65_536
"""Largest JSON schema, regular expression and list of choices; each is compiled before the answer begins."""


def _known_select(said: str) -> str:
    if said:
        parse_selector(said)
    return said


Select = Annotated[str, AfterValidator(_known_select)]
"""What chooses one image of several, as after the `#` of a path; empty where there is one."""
_PROTOCOL_NAMES = {
    "max_new_tokens": "max_tokens", "choices": "guided_choice", "regex": "guided_regex", "json_schema": "response_format",
}  # fmt: skip
"""What the protocol calls settings of decoding, by their names in the library."""
_LIBRARY_NAMES = re.compile(rf"(?<![\w-])({'|'.join(_PROTOCOL_NAMES)})\b")
Unused = Any
"""Type of a field whose annotation is `Unserved`."""


class RequestModel(StrictModel):
    """A part of a request: a key that is not known is taken where it is null, which says nothing, and else refused."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        known = _keys_of(cls)
        return {key: value for key, value in given.items() if value is not None or key in known}


@cache
def _keys_of(model: type[RequestModel]) -> frozenset[str]:
    """Every key that the fields of a model are read from: their names and their aliases."""
    keys = set(model.model_fields)
    for field in model.model_fields.values():
        alias = field.validation_alias
        keys.update(
            str(one) for one in (alias.choices if isinstance(alias, AliasChoices) else [alias]) if one
        )
    return frozenset(keys)


class TextPart(RequestModel):
    """A text."""

    type: Literal["text"]
    text: str
    annotations: Annotated[Unused, Unserved([])] = None
    cache_control: Annotated[Unused, Unserved({"type": "ephemeral"})] = None
    """Hint about caching; ignored, as this server decides for itself."""


class ImageUrl(RequestModel):
    """An image inside the request; addresses are never fetched."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(RequestModel):
    """A 2D image."""

    type: Literal["image_url"]
    image_url: ImageUrl

    @field_validator("image_url", mode="before")
    @classmethod
    def _object(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise PydanticCustomError("image_url", 'is an object here: {"url": "data:image/png;base64,..."}')
        return value


class Reference(RequestModel):
    """An uploaded study by `file_id`, or its bytes as a data URI in `data`, which OpenAI calls `file_data`; exactly one."""

    file_id: str | None = None
    data: str | None = Field(default=None, validation_alias=AliasChoices("data", "file_data"))
    filename: str | None = None
    """Name of the file, which OpenAI's clients send; the content decides the format, and the name is not kept."""
    units: str | None = None
    """Units of values whose file does not say them, such as `"HU"` for a CT in NIfTI."""
    modality: str | None = None
    """DICOM code of the modality, such as `"CT"`, where the file does not say it."""
    spacing_mm: tuple[float, ...] | None = None
    """Spacing in millimetres, in array order, where the file does not say it, such as `[5, 0.7, 0.7]`."""
    axcodes: tuple[str, ...] | None = None
    """Directions in which the axes of the array grow, where the file does not say it, such as `"SPL"`."""
    select: Select = ""
    """`series=2`, `frame=3`, `time=1`, or `series=2#frame=3`, where `data` holds several."""
    days_before_current: int | None = Field(default=None, ge=0)
    """Days before the current study, for a prior one."""

    @model_validator(mode="before")
    @classmethod
    def _object(cls, value: Any) -> Any:
        if isinstance(value, str) or (isinstance(value, dict) and "url" in value):
            raise PydanticCustomError(
                "reference",
                'takes no path or url: {"data": "data:...;base64,..."}, or {"file_id": ...} of an upload',
            )
        return value

    @field_validator("axcodes", mode="before")
    @classmethod
    def _letters(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one(self) -> Reference:
        if (self.file_id is None) == (self.data is None):
            raise ValueError("give exactly one of file_id and data")
        if self.file_id is not None and self.select:
            raise ValueError("select chooses from data; from an upload it chooses when it is sent")
        return self


class VolumePart(RequestModel):
    """A 3D volume."""

    type: Literal["volume"]
    volume: Reference

    @property
    def reference(self) -> Reference:
        """What it refers to."""
        return self.volume


class FilePart(RequestModel):
    """An uploaded study, image or volume, whichever it is."""

    type: Literal["file"]
    file: Reference

    @property
    def reference(self) -> Reference:
        """What it refers to."""
        return self.file


Part = Annotated[TextPart | ImagePart | VolumePart | FilePart, Field(discriminator="type")]


def _form_of(content: Any) -> str:
    return "parts" if isinstance(content, list) else "text"


def _objects(content: Any) -> Any:
    if isinstance(content, list) and any(isinstance(part, str) for part in content):
        raise PydanticCustomError(
            "parts", 'is a list of texts; a part is an object here: {"type": "text", "text": "..."}'
        )
    if isinstance(content, dict):
        raise PydanticCustomError(
            "parts", 'is one object; send a text, or a list of parts: [{"type": "text", "text": "..."}]'
        )
    return content


Content = Annotated[
    Annotated[str | None, Tag("text")] | Annotated[list[Part], Field(fail_fast=True), Tag("parts")],
    Discriminator(_form_of),
    BeforeValidator(_objects),
]
"""Distinguished by its JSON type, so that an error in a part names the part."""


class ChatMessage(RequestModel):
    """One turn."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Content = None
    name: str | None = None
    reasoning: str | None = None
    """Text that came with an earlier answer of the assistant; a history has no reasoning, so it is taken and left out."""
    reasoning_content: str | None = None
    """The same by its other name."""
    refusal: Annotated[Unused, Unserved()] = None
    tool_calls: Annotated[Unused, Unserved([])] = None
    function_call: Annotated[Unused, Unserved()] = None
    annotations: Annotated[Unused, Unserved([])] = None
    audio: Annotated[Unused, Unserved()] = None
    prefix: Annotated[Unused, Unserved(False)] = None


class JsonSchema(RequestModel):
    """A named schema."""

    name: str = "answer"
    schema_: JsonObject = Field(default_factory=dict, alias="schema")
    strict: bool | None = None
    description: str | None = None


class ResponseFormat(RequestModel):
    """The form of the answer."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    json_schema: JsonSchema | None = None


class StreamOptions(RequestModel):
    """What a stream sends besides the text."""

    include_usage: bool | None = None
    include_obfuscation: Annotated[Unused, Unserved(False)] = None


class ChatTemplateKwargs(RequestModel):
    """Settings of the chat template, as vLLM's servers take them."""

    enable_thinking: bool | None = None
    """True: reason before the answer, false: do not, null: as the model was made."""


class _UnservedFields(RequestModel):
    """Settings of other servers and models, which clients send at their defaults."""

    frequency_penalty: Annotated[Unused, Unserved(0)] = None
    presence_penalty: Annotated[Unused, Unserved(0)] = None
    repetition_penalty: Annotated[Unused, Unserved(1)] = None
    length_penalty: Annotated[Unused, Unserved(1)] = None
    top_k: Annotated[Unused, Unserved(0, -1)] = None
    min_p: Annotated[Unused, Unserved(0)] = None
    best_of: Annotated[Unused, Unserved(1)] = None
    echo: Annotated[Unused, Unserved(False)] = None
    logit_bias: Annotated[Unused, Unserved({})] = None
    tools: Annotated[Unused, Unserved([])] = None
    tool_choice: Annotated[Unused, Unserved("none", "auto")] = None
    parallel_tool_calls: Annotated[Unused, Unserved(True, False)] = None
    functions: Annotated[Unused, Unserved([])] = None
    function_call: Annotated[Unused, Unserved("none", "auto")] = None
    modalities: Annotated[Unused, Unserved(["text"], [])] = None
    audio: Annotated[Unused, Unserved({})] = None
    prediction: Annotated[Unused, Unserved({})] = None
    metadata: Annotated[Unused, Unserved({})] = None
    store: Annotated[Unused, Unserved(False)] = None
    service_tier: Annotated[Unused, Unserved("auto", "default")] = None
    verbosity: Annotated[Unused, Unserved("medium")] = None
    web_search_options: Annotated[Unused, Unserved({})] = None
    extra_body: Annotated[Unused, Unserved({})] = None
    runtime_options: Annotated[Unused, Unserved({})] = Field(default=None, validation_alias="options")
    """Key `options` of Ollama's clients."""
    transforms: Annotated[Unused, Unserved([])] = None
    top_a: Annotated[Unused, Unserved(0)] = None
    typical_p: Annotated[Unused, Unserved(1)] = None
    tfs_z: Annotated[Unused, Unserved(1)] = None
    mirostat: Annotated[Unused, Unserved(0)] = None
    repeat_penalty: Annotated[Unused, Unserved(1)] = None
    use_beam_search: Annotated[Unused, Unserved(False)] = None
    min_tokens: Annotated[Unused, Unserved(0)] = None
    stop_token_ids: Annotated[Unused, Unserved([])] = None
    ignore_eos: Annotated[Unused, Unserved(False)] = None
    include_stop_str_in_output: Annotated[Unused, Unserved(False)] = None
    skip_special_tokens: Annotated[Unused, Unserved(True)] = None
    spaces_between_special_tokens: Annotated[Unused, Unserved(True)] = None
    add_generation_prompt: Annotated[Unused, Unserved(True)] = None
    continue_final_message: Annotated[Unused, Unserved(False)] = None
    priority: Annotated[Unused, Unserved(0)] = None
    background: Annotated[Unused, Unserved(False)] = None
    cache_prompt: Annotated[Unused, Unserved(True, False)] = None
    prompt_cache_retention: Annotated[Unused, Unserved("in_memory", "in-memory", "24h")] = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


class ChatRequest(_UnservedFields):
    """The body of `/v1/chat/completions`."""

    model: str
    messages: Annotated[list[ChatMessage], Field(fail_fast=True)] = Field(min_length=1)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    n: int | None = Field(default=None, ge=1)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stop: str | Annotated[list[str], Field(fail_fast=True)] | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MAX_LOGPROBS)
    response_format: ResponseFormat | None = None
    guided_choice: Annotated[list[str], Field(fail_fast=True)] | None = None
    """Allowed answers; an extension of vLLM, not of OpenAI."""
    guided_regex: str | None = None
    """Regular expression that the whole answer matches; an extension of vLLM, not of OpenAI."""
    chat_template_kwargs: ChatTemplateKwargs | None = None
    """Not OpenAI's: `{"enable_thinking": false}` asks for an answer without reasoning, true for one with it."""
    reasoning_effort: Annotated[Unused, Unserved("none", kept=True)] = None
    """`"none"` asks for an answer without reasoning; no other effort is served."""

    def check(self, limits: Limits) -> None:
        """Count what is asked before anything of it is read.

        Raises:
            UserError: more turns, texts, visuals or stop texts than the limits allow, or two fields contradict each other.
        """
        if self.top_logprobs and not self.logprobs:
            raise UserError('top_logprobs: needs "logprobs": true')
        texts, visuals = self._texts(), self._num_visuals()
        _at_most("messages", len(self.messages), limits.messages)
        _at_most("characters of text", sum(map(len, texts)), limits.characters)
        _at_most("images and volumes", visuals, limits.visuals)
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        _at_most("stop texts", len(stops), limits.stops)
        _at_most("characters in a stop text", max(map(len, stops), default=0), limits.stop_characters)
        _at_most("characters of choices", sum(map(len, self.guided_choice or ())), MAX_SCHEMA_BYTES)
        _at_most("characters of regular expression", len(self.guided_regex or ""), MAX_SCHEMA_BYTES)
        _at_most("bytes of JSON schema", len(self._schema() or ""), MAX_SCHEMA_BYTES)

    def _texts(self) -> list[str]:
        contents = [message.content for message in self.messages]
        parts = [part for content in contents if isinstance(content, list) for part in content]
        given = [*contents, *(turn.reasoning for turn in self.messages)]
        given += [turn.reasoning_content for turn in self.messages]
        return [text for text in given if isinstance(text, str)] + [
            part.text for part in parts if isinstance(part, TextPart)
        ]

    def _num_visuals(self) -> int:
        contents = (message.content for message in self.messages)
        return sum(
            not isinstance(part, TextPart)
            for content in contents
            if isinstance(content, list)
            for part in content
        )

    def options(self, limits: Limits) -> list[GenerationOptions]:
        """How each of the `n` answers is decoded; they differ in their seeds.

        Raises:
            UserError: more is asked than the limits allow, or two forms at once.
        """
        count = self.n or 1
        if count > limits.answers:
            raise UserError(f"n is {count}; at most {limits.answers} answers are given to one question")
        asked = self.max_completion_tokens or self.max_tokens
        wanted = asked or min(256, limits.new_tokens)
        temperature = 0.0 if self.temperature is None else self.temperature
        top_p = 1.0 if self.top_p is None or temperature == 0 else self.top_p
        stop = [self.stop] if isinstance(self.stop, str) else self.stop or []
        settings = {
            "max_new_tokens": min(wanted, limits.new_tokens),
            "shrink_to_fit": asked is None,
            "temperature": temperature,
            "top_p": top_p,
            "thinking": self._thinking(),
            "stop": tuple(text for text in stop if text),
            "logprobs": (self.top_logprobs or 0) if self.logprobs else None,
            "choices": tuple(self.guided_choice or ()),
            "regex": self.guided_regex,
            "json_schema": self._schema(),
        }
        try:
            return [
                GenerationOptions.model_validate({**settings, "seed": (self.seed or 0) + number})
                for number in range(count)
            ]
        except ValidationError as error:
            raise UserError(as_protocol(what_is_wrong(error.errors()[0]))) from None

    def _thinking(self) -> bool | None:
        asked = None if self.chat_template_kwargs is None else self.chat_template_kwargs.enable_thinking
        if self.reasoning_effort is None:
            return asked
        if asked:
            raise UserError(
                'reasoning_effort "none" and enable_thinking true contradict each other; send one of them'
            )
        return False

    def _schema(self) -> str | None:
        form = self.response_format
        if form is None or form.type == "text":
            return None
        if form.type == "json_object":
            return json.dumps({"type": "object"})
        if form.json_schema is None:
            raise UserError("response_format json_schema needs its json_schema")
        return json.dumps(form.json_schema.schema_)


def as_protocol(text: str) -> str:
    """A message about decoding with the names that the protocol has, and advice that a client can follow."""
    text = text.replace(", use fewer visual tokens, or raise max_length", ", or send fewer or smaller images")
    return _LIBRARY_NAMES.sub(lambda name: _PROTOCOL_NAMES[name[0]], text)


def _at_most(what: str, count: int, limit: int) -> None:
    if count > limit:
        raise UserError(f"the request holds {count} {what}; at most {limit} are taken")

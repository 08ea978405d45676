"""The body of a chat request: counted, parsed and checked; a large one, and images inside one, in a reader process."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple, TypeGuard

from pydantic import ValidationError
from pydantic_core import from_json

from medmvl.errors import UserError
from medmvl.json_types import JsonValue
from medmvl.schema.jsonl import what_is_wrong
from medmvl.serving.data_uri import check_data_uri, decode_data_uri
from medmvl.serving.intake import as_a_file, in_its_object, read_one
from medmvl.serving.protocol import ChatRequest, FilePart, ImagePart, Part, VolumePart
from medmvl.serving.settings import Limits
from medmvl.serving.stored_image import StoredImage

MAX_KEYS = 100
"""Maximum number of members of one object; no object of the protocol has more."""


class BodyError(UserError):
    """A body is not as the protocol says; `place` is where, as far as it is known."""

    def __init__(self, message: str, place: str | None = None) -> None:
        super().__init__(message, place)
        self.place = place

    def __str__(self) -> str:
        return str(self.args[0])


class ReadBody(NamedTuple):
    """A request, and the images that came inside it, in their order; its parts call them by `inline_name`."""

    request: ChatRequest
    inline: tuple[StoredImage, ...] = ()


def parse_body(data: bytes, limits: Limits) -> ChatRequest:
    """Parse and check a body; nothing inside it is unpacked.

    Raises:
        BodyError: it is no JSON, or not as the protocol says.
        UserError: it asks for more than the limits allow.
    """
    try:
        given = from_json(data)
    except ValueError as error:
        raise BodyError(f"the body is not JSON: {error}") from None
    _check_form(given, limits)
    try:
        request = ChatRequest.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = _place(first["loc"], given)
        said = what_is_wrong(first)
        raise BodyError(f"{place}: {said}" if place else said, place) from None
    request.check(limits)
    for place, part in _placed(request):
        try:
            check_data_uri(_uri(part))
        except UserError as error:
            raise BodyError(f"{place}: {error}", place) from None
    return request


def read_body(received: Path, limits: Limits) -> ReadBody:
    """Parse a body that lies alone in its folder, and read the images inside it.

    Raises:
        UserError: as `parse_body`, or an image cannot be read, or all together have too many voxels.
    """
    data = received.read_bytes()
    received.unlink()
    request = parse_body(data, limits)
    del data
    inline: list[StoredImage] = []
    voxels = 0
    for number, (place, part) in enumerate(_placed(request)):
        folder = received.parent / f"part-{number}"
        folder.mkdir()
        try:
            stored = _read_part(part, place, folder, limits)
        except UserError as error:
            raise BodyError(str(error), place) from None
        voxels += stored.num_voxels
        if voxels > limits.voxels:
            raise UserError(
                f"the request holds more than {limits.voxels} voxels; upload its scans to /v1/files"
            )
        inline.append(stored)
    return ReadBody(_with_names(request), tuple(inline))


def inline_parts(request: ChatRequest) -> Iterator[ImagePart | VolumePart | FilePart]:
    """The parts that bring an image with them, in their order."""
    return (part for _, part in _placed(request))


def _placed(request: ChatRequest) -> Iterator[tuple[str, ImagePart | VolumePart | FilePart]]:
    """The parts that bring an image, each with its place in the body."""
    for turn, message in enumerate(request.messages):
        for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
            if _brings_data(part):
                yield f"messages.{turn}.content.{number}", part


def inline_name(number: int) -> str:
    """What a part of `ReadBody.request` says in place of its data."""
    return f"inline-{number}"


def _read_part(
    part: ImagePart | VolumePart | FilePart, place: str, folder: Path, limits: Limits
) -> StoredImage:
    try:
        data = decode_data_uri(_uri(part))
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    received = folder / "inline"
    received.write_bytes(data)
    del data
    if isinstance(part, ImagePart):
        stored = read_one(received, "", limits, advice=as_a_file, name=place)
    else:
        stored = read_one(received, part.reference.select, limits, advice=in_its_object, name=place)
    received.unlink()
    return stored


def _uri(part: ImagePart | VolumePart | FilePart) -> str:
    return part.image_url.url if isinstance(part, ImagePart) else part.reference.data or ""


def _brings_data(part: Part) -> TypeGuard[ImagePart | VolumePart | FilePart]:
    if isinstance(part, ImagePart):
        return True
    return isinstance(part, VolumePart | FilePart) and part.reference.data is not None


def _with_names(request: ChatRequest) -> ChatRequest:
    """The request with the names of images in place of their data."""
    names = map(inline_name, count())
    messages = [
        message.model_copy(update={"content": [_named(part, names) for part in message.content]})
        if isinstance(message.content, list)
        else message
        for message in request.messages
    ]
    return request.model_copy(update={"messages": messages})


def _named(part: Part, names: Iterator[str]) -> Part:
    if not _brings_data(part):
        return part
    if isinstance(part, ImagePart):
        return part.model_copy(update={"image_url": part.image_url.model_copy(update={"url": next(names)})})
    held = "volume" if isinstance(part, VolumePart) else "file"
    return part.model_copy(update={held: part.reference.model_copy(update={"data": next(names)})})


def _check_form(given: object, limits: Limits) -> None:
    """Check counts first, so that a body full of errors costs no more than another."""
    if not isinstance(given, dict):
        raise BodyError("the body is no JSON object")
    messages = given.get("messages")
    turns = messages if isinstance(messages, list) else []
    if len(turns) > limits.messages:
        raise UserError(f"the request holds {len(turns)} messages; at most {limits.messages} are taken")
    contents = [turn.get("content") for turn in turns if isinstance(turn, dict)]
    parts = [part for content in contents if isinstance(content, list) for part in content]
    for entry in (given, *turns, *parts):
        if isinstance(entry, dict) and len(entry) > MAX_KEYS:
            raise BodyError(f"an object of the request has {len(entry)} members; the protocol knows no such")


def _place(loc: tuple[int | str, ...], body: JsonValue) -> str:
    """Where in the body an error lies; the names of alternatives among the steps are left out."""
    steps: list[str] = []
    for number, step in enumerate(loc):
        if (
            isinstance(body, dict)
            and step == body.get("type")
            and number < len(loc) - 1
            and loc[number + 1] in body
        ):
            continue  # the type of a part, which may be called like one of its keys
        try:
            body = body[step]
        except (TypeError, KeyError, IndexError):
            if number < len(loc) - 1 or not isinstance(body, dict):
                continue
        steps.append(str(step))
    return ".".join(steps)

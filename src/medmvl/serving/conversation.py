"""From a request's messages to the conversation the engine is asked, every visual bound to its owner's study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pydantic import ValidationError

from medmvl.engine import Request
from medmvl.errors import UserError
from medmvl.imaging import MedicalImage
from medmvl.imaging.declared_metadata import Declared, apply_declared
from medmvl.json_types import JsonObject
from medmvl.messages import with_article
from medmvl.models.processing import MedMVLProcessor
from medmvl.schema import ImageBlock, Message, TextBlock, VisualBlock, VolumeBlock
from medmvl.schema.blocks import Declaration
from medmvl.schema.jsonl import what_is_wrong
from medmvl.serving.protocol import ChatMessage, FilePart, ImagePart, Reference, TextPart, VolumePart
from medmvl.serving.store import StudyStore

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class Conversation:
    """Turns messages into a `Request`; `inline` has the images that came inside it, which live as long as this."""

    def __init__(
        self, store: StudyStore, processor: MedMVLProcessor, owner: str, inline: Mapping[str, MedicalImage]
    ) -> None:
        self._store = store
        self._processor = processor
        self._owner = owner
        self._inline = inline

    def request(self, messages: Sequence[ChatMessage], name: str) -> Request:
        """The request of these messages.

        Raises:
            UserError: there is nothing to answer, or an upload is not there.
        """
        _check_last(messages)
        turns = tuple(self._turn(number, message) for number, message in enumerate(messages))
        return Request(turns, self._processor.visual_loader(self._load), name, self._owner)

    def _turn(self, number: int, message: ChatMessage) -> Message:
        place = f"messages.{number}"
        with _placed(place):
            return Message(role=ROLES[message.role], content=self._blocks(message, place))  # type: ignore[arg-type]

    def _blocks(self, message: ChatMessage, place: str) -> tuple[TextBlock | VisualBlock, ...]:
        if message.content is None or isinstance(message.content, str):
            return (TextBlock(text=message.content or ""),)
        blocks = []
        for number, part in enumerate(message.content):
            with _placed(f"{place}.content.{number}"):
                blocks.append(self._block(part))
        return tuple(blocks)

    def _block(self, part: TextPart | ImagePart | VolumePart | FilePart) -> TextBlock | VisualBlock:
        if isinstance(part, TextPart):
            return TextBlock(text=part.text)
        if isinstance(part, ImagePart):
            return ImageBlock(image=part.image_url.url)
        if isinstance(part, VolumePart):
            return VolumeBlock(volume=self._name(part.volume), **_said(part.volume))
        name = self._name(part.file)
        if self._kind(name) == "volume":
            return VolumeBlock(volume=name, **_said(part.file))
        return ImageBlock(image=name, **_said(part.file))

    def _name(self, reference: Reference) -> str:
        if reference.data is not None:
            return reference.data
        assert reference.file_id is not None
        return self._store.get(self._owner, reference.file_id).id

    def _kind(self, name: str) -> str:
        inline = self._inline.get(name)
        return inline.kind if inline is not None else str(self._store.get(self._owner, name).about["kind"])

    def _load(self, block: ImageBlock | VolumeBlock) -> MedicalImage:
        image = self._inline.get(block.path) or self._store.load(self._owner, block.path)
        if image.kind != block.type:
            raise UserError(
                f"sent as {with_article(block.type)}, but it is {with_article(image.kind)} of shape {image.shape}: send it as "
                '{"type": "file", "file": {...}}, which is either'
            )
        return apply_declared(image, Declared.parse(**block.declared))


@contextmanager
def _placed(place: str) -> Iterator[None]:
    """Say where in the request something is that the library does not take."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, (place, *first["loc"])))
        raise UserError(f"{where}: {what_is_wrong(first)}") from None


def _said(reference: Reference) -> JsonObject:
    names = (*Declaration.model_fields, "days_before_current")
    return {name: getattr(reference, name) for name in names}


def _check_last(messages: Sequence[ChatMessage]) -> None:
    if messages[-1].role != "user":
        raise UserError("the last message is not the user's; there is nothing to answer")

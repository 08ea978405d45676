"""From a request's messages to the conversation the engine is asked, every visual bound to its owner's study."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from medmvl.engine import Request
from medmvl.errors import UserError
from medmvl.imaging import MedicalImage
from medmvl.schema import ImageBlock, Message, TextBlock, VolumeBlock
from medmvl.serving.intake import read_received
from medmvl.serving.protocol import ChatMessage, FilePart, ImagePart, Reference, TextPart, VolumePart
from medmvl.serving.store import StudyStore

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class Conversation:
    """Turns messages into a `Request`; studies sent inside the request live as long as this."""

    def __init__(self, store: StudyStore, owner: str) -> None:
        self._store = store
        self._owner = owner
        self._inline: dict[str, MedicalImage] = {}

    def request(self, messages: Sequence[ChatMessage], name: str) -> Request:
        """The request of these messages.

        Raises:
            UserError: a message holds what cannot be read, too many visuals, or an upload that is not there.
        """
        turns = tuple(
            Message(role=ROLES[message.role], content=self._blocks(message))  # type: ignore[arg-type]
            for message in messages
        )
        count = sum(len(turn.visuals) for turn in turns)
        limit = self._store.limits.visuals
        if count > limit:
            raise UserError(f"the conversation shows {count} images and volumes; at most {limit} are taken")
        if turns[-1].role != "user":
            raise UserError("the last message is not the user's; there is nothing to answer")
        return Request(turns, self._load, name, self._owner)

    def _blocks(self, message: ChatMessage) -> tuple[Any, ...]:
        if message.content is None or isinstance(message.content, str):
            return (TextBlock(text=message.content or ""),)
        return tuple(self._block(part) for part in message.content)

    def _block(self, part: TextPart | ImagePart | VolumePart | FilePart) -> Any:
        if isinstance(part, TextPart):
            return TextBlock(text=part.text)
        if isinstance(part, ImagePart):
            return ImageBlock(image=self._inlined(part.image_url.url, ""))
        if isinstance(part, VolumePart):
            return VolumeBlock(
                volume=self._name(part.volume), days_before_current=part.volume.days_before_current
            )
        name = self._name(part.file)
        days = part.file.days_before_current
        if self._kind(name) == "volume":
            return VolumeBlock(volume=name, days_before_current=days)
        return ImageBlock(image=name, days_before_current=days)

    def _name(self, reference: Reference) -> str:
        if reference.data is not None:
            return self._inlined(reference.data, reference.select)
        assert reference.file_id is not None
        return self._store.get(self._owner, reference.file_id).id

    def _inlined(self, uri: str, selector: str) -> str:
        """Read a data URI and return the name it has in this conversation."""
        data = decode_data_uri(uri)
        folder = self._store.incoming()
        try:
            received = folder / "inline"
            received.write_bytes(data)
            image = read_received(received, selector, self._store.limits)
        finally:
            self._store.discard(folder)
        name = f"inline-{len(self._inline)}"
        self._inline[name] = image
        return name

    def _kind(self, name: str) -> str:
        inline = self._inline.get(name)
        return inline.kind if inline is not None else str(self._store.get(self._owner, name).about["kind"])

    def _load(self, block: ImageBlock | VolumeBlock) -> MedicalImage:
        image = self._inline.get(block.path) or self._store.load(self._owner, block.path)
        if image.kind != block.type:
            raise UserError(f"sent as a {block.type}, but it is a {image.kind} of shape {image.shape}")
        return image


def decode_data_uri(uri: str) -> bytes:
    """The bytes of `data:...;base64,...`.

    Raises:
        UserError: it is something else; addresses are never fetched and files of this machine never read.
    """
    head, comma, body = uri.partition(",")
    if not head.startswith("data:") or not head.endswith(";base64") or not comma:
        raise UserError(
            "send pictures and volumes inside the request, as data:...;base64,..., or upload them to /v1/files; "
            "addresses are not fetched"
        )
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise UserError("a data URI is not valid base64") from None

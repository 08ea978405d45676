"""From a request's messages to the conversation the engine is asked, every visual bound to its owner's study."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from medmvl.engine import Request
from medmvl.errors import UserError
from medmvl.imaging import MedicalImage
from medmvl.imaging.declared_metadata import Declared, apply_declared
from medmvl.models.processing import MedMVLProcessor
from medmvl.schema import ImageBlock, Message, TextBlock, VolumeBlock
from medmvl.serving.intake import read_received
from medmvl.serving.protocol import ChatMessage, FilePart, ImagePart, Reference, TextPart, VolumePart
from medmvl.serving.store import StudyStore

ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


class Conversation:
    """Turns messages into a `Request`; studies sent inside the request live as long as this."""

    def __init__(self, store: StudyStore, processor: MedMVLProcessor, owner: str) -> None:
        self._store = store
        self._processor = processor
        self._owner = owner
        self._inline: dict[str, MedicalImage] = {}
        self._voxels = 0

    def request(self, messages: Sequence[ChatMessage], name: str) -> Request:
        """The request of these messages.

        Raises:
            UserError: a message holds what cannot be read, too many visuals, or an upload that is not there.
        """
        _check_last(messages)
        turns = tuple(
            Message(role=ROLES[message.role], content=self._blocks(message))  # type: ignore[arg-type]
            for message in messages
        )
        return Request(turns, self._processor.visual_loader(self._load), name, self._owner)

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
            return VolumeBlock(volume=self._name(part.volume), **_said(part.volume))
        name = self._name(part.file)
        if self._kind(name) == "volume":
            return VolumeBlock(volume=name, **_said(part.file))
        return ImageBlock(image=name, **_said(part.file))

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
        self._voxels += image.array.size
        if self._voxels > self._store.limits.voxels:
            raise UserError(
                f"the request holds more than {self._store.limits.voxels} voxels; upload its scans to /v1/files"
            )
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
        return apply_declared(image, Declared.parse(units=block.units, modality=block.modality))


def _said(reference: Reference) -> dict[str, Any]:
    names = ("units", "modality", "days_before_current")
    return {name: getattr(reference, name) for name in names}


def _check_last(messages: Sequence[ChatMessage]) -> None:
    if messages[-1].role != "user":
        raise UserError("the last message is not the user's; there is nothing to answer")


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

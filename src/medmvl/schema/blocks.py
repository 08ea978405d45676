"""Typed blocks of a message: text, an image, a volume. A visual block is bound to its own file, never found by counting."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, TypedDict, cast
from urllib.parse import unquote

from pydantic import BeforeValidator, Field, NonNegativeInt, field_validator

from medmvl.schema.strict import StrictModel


class TextBlock(StrictModel):
    """Plain text. Text that spells a special token of the tokenizer is refused by the processor."""

    type: Literal["text"] = "text"
    """Kind of block."""
    text: str
    """The text."""


class Declarations(TypedDict, total=False):
    """What the user knows and files do not say, as keyword arguments of `medmvl.imaging.read`."""

    units: str
    spacing_mm: tuple[float, ...]
    axcodes: tuple[str, ...]
    modality: str


class Declaration(StrictModel):
    """What the user knows about files and the files do not say; see `medmvl.imaging.read`."""

    units: str | None = None
    """Units of a bare array, or of a file that does not say, such as `"HU"`; one of `imaging.units.UNITS`."""
    spacing_mm: tuple[float, ...] | None = None
    """Spacing of a bare array in mm, in array order."""
    axcodes: tuple[str, ...] | None = None
    """Orientation of a bare array, such as `("S", "P", "L")`."""
    modality: str | None = None
    """DICOM modality code, where a file does not say it, such as `"CT"`."""

    @field_validator("units")
    @classmethod
    def _known_units(cls, said: str | None) -> str | None:
        from medmvl.imaging.units import known_units  # only where something is declared: imaging is heavy

        return None if said is None else known_units(said)

    @field_validator("modality")
    @classmethod
    def _known_modality(cls, said: str | None) -> str | None:
        from medmvl.imaging.modalities import known_modality

        return None if said is None else known_modality(said)

    @property
    def declared(self) -> Declarations:
        """The declarations that were made."""
        names = Declaration.model_fields
        return cast(
            Declarations, {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        )


class DeclaredBlock(Declaration):
    """What images and volumes share: what is declared about a file, and the date relative to the current study."""

    days_before_current: NonNegativeInt | None = None
    """Days by which this study is older than the current one; None or 0 for the current study."""


_ADDRESS = re.compile(r"(data|https?|s3|gs|hf)(?=:)", re.IGNORECASE)


def _local_path(said: object) -> object:
    """A path as it is, also where it is written as `file://`; anything else that is no path is refused."""
    if not isinstance(said, str):
        return said
    if (address := _ADDRESS.match(said)) is not None:
        raise ValueError(
            f"a file is named by its path, and this is a {address[1].lower()}: address; save the file, and name it here"
        )
    return unquote(said.removeprefix("file://")) if said.startswith("file:///") else said


FilePath = Annotated[str, BeforeValidator(_local_path), Field(min_length=1)]


class ImageBlock(DeclaredBlock):
    """A 2D image: a path, relative to the data file or to an image root; `file#frame=3` chooses a frame."""

    type: Literal["image"] = "image"
    """Kind of block."""
    image: FilePath
    """Path of the file."""

    @property
    def path(self) -> str:
        """The reference as written in the sample."""
        return self.image


class VolumeBlock(DeclaredBlock):
    """A 3D volume: a file or a DICOM folder, relative to the data file or to a volume root; `folder#series=2` chooses."""

    type: Literal["volume"] = "volume"
    """Kind of block."""
    volume: FilePath
    """Path of the file or folder."""

    @property
    def path(self) -> str:
        """The reference as written in the sample."""
        return self.volume


VisualBlock = ImageBlock | VolumeBlock
"""A block with something to see."""
Block = Annotated[TextBlock | ImageBlock | VolumeBlock, Field(discriminator="type")]


FOREIGN_KINDS = frozenset(
    (
        "image_url",
        "input_image",
        "input_text",
        "input_file",
        "video",
        "video_url",
        "audio",
        "input_audio",
        "audio_url",
        "file",
    )
)
"""Kinds of blocks in requests and records of other libraries."""


def foreign_block(block: object) -> str | None:
    """What to write instead of a block that other libraries know, or None."""
    if not isinstance(block, Mapping):
        return None
    kind = block.get("type")
    elsewhere = [key for key in ("url", "path", "source", "image_url") if key in block and kind == "image"]
    if (
        kind not in FOREIGN_KINDS
        and not elsewhere
        and not (kind is None and {"image", "volume", "text"} & set(block))
    ):
        return None
    found = (
        f"{elsewhere[0]!r} of an image"
        if elsewhere
        else "a block without a 'type'"
        if kind is None
        else f"{kind!r}"
    )
    return (
        f'{found} is not read in a record; write {{"type": "image", "image": "PATH"}} for an image, '
        '{"type": "volume", "volume": "PATH"} for a scan, {"type": "text", "text": "..."} for words'
    )

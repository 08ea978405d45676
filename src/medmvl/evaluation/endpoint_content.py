"""Images and volumes as an endpoint takes them: PNG in a data URI, an upload to medmvl's own server, or slices."""

from __future__ import annotations

import base64
import io
import logging
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from medmvl.datasets.loader import ImageLoader
from medmvl.errors import UserError
from medmvl.imaging import MedicalImage
from medmvl.imaging.draw import slice_image
from medmvl.imaging.write import write_npy
from medmvl.json_types import JsonObject
from medmvl.schema import VisualBlock

if TYPE_CHECKING:
    from openai import OpenAI

logger = logging.getLogger(__name__)
MAX_SLICES = 256


def check_volume_as(wanted: str) -> None:
    """Raise UserError where `--volume-as` says nothing known."""
    if wanted not in ("auto", "volume") and not 1 <= _count(wanted) <= MAX_SLICES:
        raise UserError(
            f"--volume-as {wanted!r}: expected auto, volume, or slices:N with N up to {MAX_SLICES}"
        )


class ScanContent:
    """The parts of messages that show one scan; made once, and what was uploaded is deleted at the end."""

    def __init__(self, client: OpenAI, load: ImageLoader, volume_as: str) -> None:
        """Say how volumes are shown.

        Args:
            client: client of the `openai` package.
            load: gives the pixels of a block.
            volume_as: `volume`, `slices:N` or `refuse`.
        """
        self._client = client
        self._load = load
        self._volume_as = volume_as
        self._made: dict[VisualBlock, list[JsonObject]] = {}
        self._uploaded: list[str] = []

    def __enter__(self) -> ScanContent:
        return self

    def __exit__(self, *exception: object) -> None:
        import openai

        for name in self._uploaded:
            try:
                self._client.files.delete(name)
            except openai.APIError as error:
                logger.warning("an upload was not deleted: %s", type(error).__name__)

    def parts(self, block: VisualBlock) -> list[JsonObject]:
        """The parts that show a block.

        Raises:
            UserError: the endpoint takes no volumes, or the file cannot be read.
        """
        if block not in self._made:
            self._made[block] = self._make(block)
        return self._made[block]

    def _make(self, block: VisualBlock) -> list[JsonObject]:
        if block.type == "volume" and self._volume_as == "refuse":
            raise UserError(
                "the endpoint does not say that it takes volumes; show them as images with --volume-as slices:N"
            )
        image: MedicalImage = self._load(block)
        native = self._volume_as == "volume"
        if native and (image.kind == "volume" or image.units != "display"):
            reference: JsonObject = {"file_id": self._upload(image)}
            if block.days_before_current is not None:
                reference["days_before_current"] = block.days_before_current
            kind = "volume" if image.kind == "volume" else "file"
            return [{"type": kind, kind: reference}]
        if image.kind == "image":
            return [_png(image, 0)]
        count = min(_count(self._volume_as), len(image.array))
        places = (
            np.linspace(0, len(image.array) - 1, count + 2)[1:-1]
            if count < len(image.array)
            else range(count)
        )
        return [_png(image, round(float(place))) for place in places]

    def _upload(self, image: MedicalImage) -> str:
        """Pixels, spacing and units, nothing else; as a zip, which the server recognises among other uploads."""
        with tempfile.TemporaryDirectory(prefix="medmvl-endpoint-") as folder:
            path = Path(folder) / "scan.npz"
            write_npy(image, path)
            content = io.BytesIO()
            with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
                archive.write(path, path.name)
        name = str(self._client.files.create(file=("scan.zip", content.getvalue()), purpose="user_data").id)
        self._uploaded.append(name)
        return name


def _count(wanted: str) -> int:
    kind, _, number = wanted.partition(":")
    return int(number) if kind == "slices" and number.isdecimal() else 0


def _png(image: MedicalImage, index: int) -> JsonObject:
    """An image as it is; others in 8 bits, Hounsfield units in the mediastinal window."""
    content = io.BytesIO()
    exact = image.units == "display" and image.array.dtype == np.uint8
    (Image.fromarray(image.array) if exact else slice_image(image, index)).save(content, "PNG")
    data = base64.b64encode(content.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}

"""What a model sees of an image or volume: its pixels after windowing and resampling, described and drawn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from medmvl.errors import UserError
from medmvl.imaging.image import MedicalImage
from medmvl.models.configuration import VisualParts
from medmvl.models.features import Grid
from medmvl.models.image_processing import ImageProcessor
from medmvl.models.token_dropping import changed_tokens
from medmvl.models.visuals import ProcessedVisual
from medmvl.models.volume_processing import VolumeProcessor

_GAP = 2


class Sight:
    """The part of a processor that turns images and volumes into pixels; it needs neither tokenizer nor weights."""

    def __init__(
        self, parts: VisualParts, pictures: ImageProcessor | None, volumes: VolumeProcessor | None
    ) -> None:
        self.parts = parts
        self.pictures = pictures
        self.volumes = volumes

    def see(self, image: MedicalImage) -> ProcessedVisual:
        """What the model sees of an image or volume, with the matrix back to it.

        Raises:
            UserError: the model does not read this kind.
        """
        source = {
            "kind": image.kind, "shape": list(image.shape), "units": image.units, "modality": image.modality,
            "spacing_mm": None if image.spacing_mm is None else [float(s) for s in image.spacing_mm],
        }  # fmt: skip
        positions = None
        if image.kind == "image" and self.pictures is not None:
            pixels, matrix, notes = self.pictures(image)
            pixels, tiles = pixels[None], 1
        elif image.kind == "volume" and self.volumes is not None:
            pixels, matrix, positions, notes = self.volumes(image)
            tiles = 1
        else:
            raise UserError(f"this model reads no {image.kind}s; it was given one of shape {image.shape}.")
        grid = self.parts.grid(image.kind, tuple(pixels.shape[2 if image.kind == "image" else 1 :]))
        kept = self._kept(pixels, grid) if image.kind == "volume" else None
        count = self.parts.num_tokens(image.kind, grid) * tiles if kept is None else len(kept)
        return ProcessedVisual(
            kind=image.kind, pixels=pixels, grid=grid, num_tokens=count, kept=kept,
            kept_share=self.parts.kept_share(image.kind, grid) if kept is None else len(kept) / math.prod(grid),
            matrix=matrix, positions_mm=positions, notes=(*notes, *image.warnings), source=source,
        )  # fmt: skip

    def _kept(self, voxels: Tensor, grid: Grid) -> Tensor | None:
        """The tokens of a volume that stay where some are left out."""
        if self.volumes is None or self.volumes.drop_unchanged is None:
            return None
        return changed_tokens(voxels, grid, self.volumes.drop_unchanged / self.volumes.std)

    def unit_range(self, visual: ProcessedVisual) -> NDArray[np.float32]:
        """The pixels before normalisation, in [0, 1]: `(channels, H, W)` of the first tile, or `(channels, D, H, W)`."""
        settings = self.pictures if visual.kind == "image" else self.volumes
        assert settings is not None
        pixels = (visual.pixels[0] if visual.kind == "image" else visual.pixels).numpy()
        shape = (-1, *[1] * (pixels.ndim - 1))
        mean, std = (
            np.asarray(value, dtype=np.float32).reshape(shape) for value in (settings.mean, settings.std)
        )
        unit: NDArray[np.float32] = (pixels * std + mean).clip(0, 1).astype(np.float32)
        return unit

    def draw(self, visual: ProcessedVisual) -> Image.Image:
        """The pixels as they enter the encoder, one pixel a pixel: a picture, or a row of slices a channel."""
        grey = (self.unit_range(visual) * 255 + 0.5).astype(np.uint8)
        if visual.kind == "image":
            return Image.fromarray(np.moveaxis(grey, 0, 2) if len(grey) == 3 else grey[0])
        return Image.fromarray(np.concatenate([_sheet(channel) for channel in grey]))


def describe(visual: ProcessedVisual) -> dict[str, Any]:
    """What was done to an image or volume and what came of it, as plain values."""
    size = visual.pixels.shape[1:] if visual.kind == "image" else visual.pixels.shape
    return {
        "kind": visual.kind,
        "tiles": visual.tiles,
        "channels": int(size[0]),
        "size": [int(n) for n in size[1:]],
        "grid": list(visual.grid),
        "tokens": visual.num_tokens,
        "kept_share": visual.kept_share,
        "min": float(visual.pixels.min()),
        "max": float(visual.pixels.max()),
        "mean": float(visual.pixels.mean()),
        "matrix": visual.matrix.tolist(),
        "notes": list(visual.notes),
    }


def _sheet(slices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """All slices `(D, H, W)`, the first at the top left, in about as many rows as columns."""
    depth, height, width = slices.shape
    columns = int(np.ceil(np.sqrt(depth)))
    rows = -(-depth // columns)
    sheet = np.zeros((rows * (height + _GAP), columns * (width + _GAP)), dtype=np.uint8)
    for index, plane in enumerate(slices):
        top, left = index // columns * (height + _GAP), index % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = plane
    return sheet

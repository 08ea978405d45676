"""What a model sees of an image or volume: its pixels after windowing and resampling, described and drawn."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from medmvl.errors import RecipeError, UserError
from medmvl.imaging.image import MedicalImage
from medmvl.json_types import JsonObject
from medmvl.models.configuration import VisualParts
from medmvl.models.features import Grid
from medmvl.models.image_processing import ImageProcessor
from medmvl.models.token_dropping import changed_tokens, check_dropping
from medmvl.models.visuals import ProcessedVisual
from medmvl.models.volume_processing import VolumeProcessor

_GAP = 2
LABEL_PIXELS = 14
"""Height of the words above a sheet of slices."""


class VisualPreprocessor:
    """The part of a processor that turns images and volumes into pixels; it needs neither tokenizer nor weights."""

    def __init__(
        self,
        parts: VisualParts,
        image_processor: ImageProcessor | None,
        volume_processor: VolumeProcessor | None,
    ) -> None:
        self.parts = parts
        self.image_processor = image_processor
        self.volume_processor = volume_processor

    def process(self, image: MedicalImage) -> ProcessedVisual:
        """What the model sees of an image or volume, with the matrix back to it.

        Raises:
            UserError: the model does not read this kind.
        """
        source = {
            "kind": image.kind, "shape": list(image.shape), "units": image.units, "modality": image.modality,
            "spacing_mm": None if image.spacing_mm is None else [float(s) for s in image.spacing_mm],
        }  # fmt: skip
        if image.kind == "image" and self.image_processor is not None:
            tiles, matrices, notes = self.image_processor.tiles(image)
            notes = (*notes, *image.warnings)
            return self.visual_of(
                "image",
                tiles,
                matrices[0],
                notes,
                source,
                tile_matrices=matrices if len(matrices) > 1 else None,
                warnings=image.warnings,
            )
        if image.kind == "volume" and self.volume_processor is not None:
            whole, *crops = [
                self.visual_of(
                    "volume", view.voxels, view.matrix, view.notes, source, positions_mm=view.positions_mm
                )
                for view in self.volume_processor.views(image)
            ]
            notes = (*whole.notes, *image.warnings)
            return replace(whole, crops=tuple(crops), notes=notes, warnings=image.warnings)
        raise UserError(f"this model reads no {image.kind}s; it was given one of shape {image.shape}.")

    def visual_of(
        self,
        kind: str,
        pixels: Tensor,
        matrix: NDArray[np.float64],
        notes: tuple[str, ...],
        source: JsonObject,
        **more: Any,
    ) -> ProcessedVisual:
        """One view of pixels that are made already, with the tokens that these parts make of it.

        Args:
            kind: `"image"` or `"volume"`.
            pixels: `(tiles, C, H, W)` or `(C, D, H, W)`, normalised.
            matrix: 4x4, back to the voxels of what was read.
            notes: what was done to the intensities.
            source: what was read.
            **more: further fields of `ProcessedVisual`; `kept` where the pixels have a shape and no values.
        """
        tiles, size = (len(pixels), pixels.shape[2:]) if kind == "image" else (1, pixels.shape[1:])
        grid = self.parts.grid(kind, tuple(size))
        kept = more.pop("kept") if "kept" in more else self._kept(pixels, grid) if kind == "volume" else None
        count = self.parts.num_tokens(kind, grid) * tiles if kept is None else len(kept)
        return ProcessedVisual(
            kind=kind,
            pixels=pixels,
            grid=grid,
            num_tokens=count,
            kept=kept,
            kept_share=self.parts.kept_share(kind, grid) if kept is None else len(kept) / math.prod(grid),
            matrix=matrix,
            notes=notes,
            source=source,
            **more,
        )

    def max_tokens(self, kind: str) -> int:
        """The most tokens that an image or volume may take, all tiles or crops together.

        Raises:
            UserError: the model does not read this kind.
        """
        if kind == "image" and self.image_processor is not None:
            return self.image_processor.num_views * max(
                map(self._tokens_at(kind), self.image_processor.largest_sizes())
            )
        if kind == "volume" and self.volume_processor is not None:
            settings, tokens = self.volume_processor, self._tokens_at(kind)
            crops = settings.crops * tokens(settings.crop_size or settings.size) if settings.crops else 0
            return max(map(tokens, settings.largest_sizes())) + crops
        raise UserError(f"this model reads no {kind}s.")

    def _tokens_at(self, kind: str) -> Callable[[tuple[int, ...]], int]:
        return lambda size: self.parts.num_tokens(kind, self.parts.grid(kind, size))

    def check(self, kind: str) -> None:
        """Raise RecipeError where a size that the processor may make, or what it leaves out, does not fit the parts."""
        settings = self.image_processor if kind == "image" else self.volume_processor
        if settings is None:
            return
        sizes: list[tuple[int, ...]] = list(settings.largest_sizes())
        if isinstance(settings, VolumeProcessor) and settings.crops:
            sizes.append(settings.crop_size or settings.size)
        for size in sizes:
            try:
                self.parts.check(kind, size)
            except RecipeError as error:
                if size == settings.size:
                    raise
                raise RecipeError(f"{kind}_processor may make pixels of {size}: {error}") from None
        if isinstance(settings, VolumeProcessor):
            check_dropping(self.parts, settings)

    def _kept(self, voxels: Tensor, grid: Grid) -> Tensor | None:
        """The tokens of a volume that stay where some are left out."""
        if self.volume_processor is None or self.volume_processor.drop_unchanged is None:
            return None
        return changed_tokens(voxels, grid, self.volume_processor.drop_unchanged / self.volume_processor.std)

    def unit_range(self, visual: ProcessedVisual) -> NDArray[np.float32]:
        """The pixels before normalisation, in [0, 1]: `(tiles, channels, H, W)`, or `(channels, D, H, W)` of the whole."""
        settings = self.image_processor if visual.kind == "image" else self.volume_processor
        assert settings is not None
        mean, std = (
            np.asarray(value, dtype=np.float32).reshape(-1, 1, 1) for value in (settings.mean, settings.std)
        )
        if visual.kind == "volume":
            mean, std = mean[..., None], std[..., None]
        unit: NDArray[np.float32] = (visual.pixels.numpy() * std + mean).clip(0, 1).astype(np.float32)
        return unit

    def draw(self, visual: ProcessedVisual) -> Image.Image:
        """The pixels as they enter the encoder, one pixel per pixel: the tiles of an image, or a sheet of slices per channel.

        Each sheet has the channel's window above it; the crops of a volume are below the whole.
        """
        if visual.kind == "image":
            tiles = _to_bytes(self.unit_range(visual))
            sheet = _sheet(np.moveaxis(tiles, 1, 3) if tiles.shape[1] == 3 else tiles[:, 0])
            return Image.fromarray(sheet[:-_GAP, :-_GAP])
        assert self.volume_processor is not None
        windows = [str(window) for window in self.volume_processor.windows]
        sheets = []
        for number, view in enumerate(visual.views):
            channels = _to_bytes(self.unit_range(view))
            names = (
                windows
                if len(windows) == len(channels) and visual.source.get("units") == "HU"
                else [""] * len(channels)
            )
            part = f"crop {number}" if number else "whole"
            sheets += [
                _labelled(_sheet(channel), f"{part} {name}".strip())
                for channel, name in zip(channels, names, strict=True)
            ]
        width = max(sheet.shape[1] for sheet in sheets)
        wide = [np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]))) for sheet in sheets]
        return Image.fromarray(np.concatenate(wide))


def _labelled(sheet: NDArray[np.uint8], words: str) -> NDArray[np.uint8]:
    """A sheet with words above it; as wide as it was."""
    label = Image.new("L", (sheet.shape[1], LABEL_PIXELS))
    font = ImageFont.load_default(LABEL_PIXELS - 4)
    ImageDraw.Draw(label).text((1, 0), words, fill=255, font=font)
    return np.concatenate([np.asarray(label), sheet])


def _to_bytes(unit: NDArray[np.float32]) -> NDArray[np.uint8]:
    return (unit * 255 + 0.5).astype(np.uint8)


def describe(visual: ProcessedVisual) -> JsonObject:
    """`ProcessedVisual.to_json` with the tokens of all views, the range of the pixels, every tile and every crop."""
    described = {
        **visual.to_json(),
        "tokens": visual.all_tokens,
        "tiles": visual.tiles,
        "min": float(visual.pixels.min()),
        "max": float(visual.pixels.max()),
        "mean": float(visual.pixels.mean()),
    }
    if visual.tiles > 1:
        described["tile_matrices"] = visual.matrices.tolist()
    if visual.crops:
        described["crops"] = [describe(crop) for crop in visual.crops]
    return described


def _sheet(slices: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """All slices `(N, H, W)`, or images `(N, H, W, 3)`, the first at the top left, in about as many rows as columns."""
    count, height, width = slices.shape[:3]
    columns = int(np.ceil(np.sqrt(count)))
    rows = -(-count // columns)
    sheet = np.zeros((rows * (height + _GAP), columns * (width + _GAP), *slices.shape[3:]), dtype=np.uint8)
    for index, plane in enumerate(slices):
        top, left = index // columns * (height + _GAP), index % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = plane
    return sheet

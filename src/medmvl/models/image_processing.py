"""ImageProcessor: a 2D MedicalImage to the pixels of an image encoder, and the matrix back to the picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError
from torch import Tensor

from medmvl.errors import RecipeError
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.intensity import to_unit_range

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
_PIL_CODES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


class ImageProcessor(BaseModel):
    """Resizing and normalisation of 2D images, as plain settings that are saved with the model.

    8-bit pictures are resized as Pillow resizes 8-bit pictures, which reproduces CLIP's and SigLIP's own preprocessing; all
    others are brought to [0, 1] first (HU through `window`, other units between percentiles) and resized in floating point.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[PositiveInt, PositiveInt] = (256, 256)
    """Height and width of the pixels."""
    fit: Literal["squash", "pad", "crop"] = "squash"
    """`squash` changes the aspect ratio, `pad` keeps it and fills up, `crop` keeps it and cuts what sticks out."""
    shortest_edge: PositiveInt | None = None
    """With `crop`: bring the shorter side to this many pixels first; None: no smaller than `size` needs."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    channels: Literal[1, 3] = 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    window: str | tuple[float, float] = "mediastinum"
    """The window of single CT slices: a name, or centre and width in HU."""
    pad_value: float = 0.0
    """Fills up in `pad`, in [0, 1]."""

    def __call__(self, image: MedicalImage) -> tuple[Tensor, NDArray[np.float64], tuple[str, ...]]:
        """Process one image.

        Returns:
            float32 pixels `(C, H, W)`, the 4x4 matrix from `(0, h, w, 1)` of them to the image's index, and notes.
        """
        pictures, note = self._pictures(image)
        height, width = image.shape[:2]
        inner, offset, scale = self._layout(height, width)
        resized = np.stack([self._resize(picture, inner) for picture in pictures])
        canvas = np.full((len(pictures), *self.size), self.pad_value, dtype=np.float32)
        target, source = _overlap(offset, inner, self.size)
        canvas[:, target[0], target[1]] = resized[:, source[0], source[1]]
        pixels = torch.from_numpy(self._channels(canvas))
        shape = (-1, 1, 1)
        pixels = (pixels - torch.tensor(self.mean).view(shape)) / torch.tensor(self.std).view(shape)
        return pixels, _matrix(offset, scale), note

    def _pictures(self, image: MedicalImage) -> tuple[list[Image.Image], tuple[str, ...]]:
        """One single-channel picture a colour; 8 bit where the image is, floating point in [0, 1] otherwise."""
        if image.units == "display":
            layers = np.moveaxis(np.atleast_3d(image.array.astype(np.uint8)), 2, 0)
            return [Image.fromarray(np.ascontiguousarray(layer)) for layer in layers], ()
        window = self.window if image.units == "HU" else None
        note = f"window {self.window}" if window is not None else "scaled between percentiles"
        unit = np.moveaxis(np.atleast_3d(to_unit_range(image, window)), 2, 0)
        return [Image.fromarray(np.ascontiguousarray(layer, dtype=np.float32)) for layer in unit], (note,)

    def _resize(self, picture: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
        resized = picture.resize((size[1], size[0]), _RESAMPLING[self.interpolation])
        array = np.asarray(resized, dtype=np.float32)
        return array / np.float32(255) if picture.mode == "L" else array.clip(0, 1)

    def _layout(
        self, height: int, width: int
    ) -> tuple[tuple[int, int], tuple[int, int], tuple[float, float]]:
        """The resized picture's size, its offset on the canvas, and source pixels a model pixel."""
        if self.fit == "squash":
            return self.size, (0, 0), (height / self.size[0], width / self.size[1])
        inner = self._inner(height, width)
        if self.fit == "crop":  # an odd pixel is cut at the end, as CLIP does
            offset = (-((inner[0] - self.size[0]) // 2), -((inner[1] - self.size[1]) // 2))
        else:
            offset = ((self.size[0] - inner[0]) // 2, (self.size[1] - inner[1]) // 2)
        return inner, offset, (height / inner[0], width / inner[1])

    def _inner(self, height: int, width: int) -> tuple[int, int]:
        """The size a picture is resized to where its aspect ratio is kept, fractions cut as CLIP does."""
        rows, columns = self.size
        if self.fit == "crop" and self.shortest_edge is not None:
            short, edge = min(height, width), self.shortest_edge
            return int(edge * height / short), int(edge * width / short)
        if (rows * width >= columns * height) == (self.fit == "crop"):
            return rows, max(1, int(rows * width / height))
        return max(1, int(columns * height / width)), columns

    def _channels(self, canvas: NDArray[np.float32]) -> NDArray[np.float32]:
        if len(canvas) == self.channels:
            return canvas
        if self.channels == 3:
            return canvas.repeat(3, axis=0)
        weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601 luma
        return np.tensordot(weights, canvas, axes=1)[None]

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> ImageProcessor:
        """Settings of a recipe or a saved processor.

        Raises:
            RecipeError: naming every wrong key.
        """
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            raise RecipeError(f"image processor: {error}") from None

    @classmethod
    def from_huggingface(cls, settings: Mapping[str, Any]) -> ImageProcessor:
        """The settings of a Hugging Face CLIP-like image processor, from its `preprocessor_config.json`.

        Raises:
            RecipeError: it makes pictures of changing sizes.
        """
        size, crop = settings["size"], settings["crop_size"] if settings.get("do_center_crop") else None
        size = {"height": size, "width": size} if isinstance(size, int) else size
        if crop is None and not {"height", "width"} <= set(size):
            raise RecipeError(
                f"image processor: a checkpoint that resizes to {dict(size)} and does not crop makes changing sizes; "
                "give size and fit yourself."
            )
        shape = size if crop is None else {"height": crop, "width": crop} if isinstance(crop, int) else crop
        edge = None if crop is None else size.get("shortest_edge", size.get("height"))
        return cls.from_settings(
            {
                "size": (shape["height"], shape["width"]),
                "fit": "squash" if crop is None else "crop",
                "shortest_edge": edge,
                "interpolation": _PIL_CODES[int(settings.get("resample", 3))],
                "mean": settings["image_mean"],
                "std": settings["image_std"],
            }
        )


def _overlap(
    offset: tuple[int, int], inner: tuple[int, int], size: tuple[int, int]
) -> tuple[list[slice], list[slice]]:
    """The part of the canvas that the picture covers, and the part of the picture that is on the canvas."""
    target = [slice(max(0, o), min(s, o + n)) for o, n, s in zip(offset, inner, size, strict=True)]
    source = [slice(t.start - o, t.stop - o) for t, o in zip(target, offset, strict=True)]
    return target, source


def _matrix(offset: tuple[int, int], scale: tuple[float, float]) -> NDArray[np.float64]:
    matrix = np.eye(4)
    for axis in (0, 1):
        matrix[axis + 1, axis + 1] = scale[axis]
        matrix[axis + 1, 3] = (0.5 - offset[axis]) * scale[axis] - 0.5  # pixel centres: half-pixel shift kept
    return matrix

"""ImageProcessor: a 2D MedicalImage to the pixels of an image encoder, and the matrix back to the image."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import PositiveInt, ValidationError, model_validator
from torch import Tensor

from medmvl.errors import RecipeError
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.intensity import to_unit_range
from medmvl.json_types import JsonMapping
from medmvl.models.checkpoint_images import image_settings
from medmvl.models.tiling import Size, best_grid, fitted_size, largest_sizes, native_size
from medmvl.schema.strict import StrictModel

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


class _Place(NamedTuple):
    """Where a whole image lies on a canvas."""

    canvas: Size
    inner: Size
    """Size of the image on the canvas."""
    offset: tuple[int, int]
    """Offset of the image on the canvas; negative where it sticks out."""


class ImageProcessor(StrictModel):
    """Resizing and normalisation of 2D images, as plain settings that are saved with the model.

    8-bit images are resized as Pillow resizes 8-bit images, which reproduces CLIP's and SigLIP's own preprocessing; all
    others are brought to [0, 1] first (HU through `window`, other units between percentiles) and resized in floating point.
    """

    size: tuple[PositiveInt, PositiveInt] = (256, 256)
    """Height and width of the pixels, or of one tile; with `native` their product is the most pixels there may be."""
    fit: Literal["squash", "pad", "crop", "native"] = "squash"
    """`squash` changes the aspect ratio, `pad` keeps it and fills up, `crop` keeps it and cuts what sticks out. `native`
    keeps it to within a `multiple`, with pixels of changing sizes: images are made smaller where they need be, never
    larger."""
    multiple: PositiveInt = 16
    """Factor of both sides with `native`: the encoder's patch, or what encoder and connector need together."""
    max_tiles: PositiveInt = 1
    """Maximum number of tiles, in a grid that keeps details, after the whole image; 1: the whole image only."""
    shortest_edge: PositiveInt | None = None
    """Pixels that the shorter side is brought to before a `crop`; None: no smaller than `size` needs."""
    interpolation: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bicubic"
    channels: Literal[1, 3] = 3
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    window: str | tuple[float, float] = "mediastinum"
    """The window of single CT slices: a name, or centre and width in HU."""
    pad_value: float = 0.0
    """Value of the padding in `pad`, in [0, 1]."""

    @model_validator(mode="after")
    def _one_way_to_sizes(self) -> ImageProcessor:
        if self.fit == "native" and any(length % self.multiple for length in self.size):
            raise ValueError(f"size {self.size} is not in whole multiples of {self.multiple} (multiple)")
        if self.max_tiles > 1 and self.fit in ("native", "crop"):
            raise ValueError(f"max_tiles needs fit 'squash' or 'pad' for the whole image, not {self.fit!r}")
        return self

    def largest_sizes(self) -> list[Size]:
        """The sizes that may give the most tokens, and the smallest one: all that must fit encoder and connector."""
        return largest_sizes(self.size, self.multiple) if self.fit == "native" else [self.size]

    @property
    def num_views(self) -> int:
        """Most views of one image: its tiles, and the whole where there are several."""
        return 1 if self.max_tiles == 1 else 1 + self.max_tiles

    def tiles(self, image: MedicalImage) -> tuple[Tensor, NDArray[np.float64], tuple[str, ...]]:
        """Process one image: the whole image, then its tiles row by row where there are more than one.

        Returns:
            float32 pixels `(tiles, C, H, W)`, the matrices `(tiles, 4, 4)` as of `__call__`, and notes.
        """
        planes, note = self._colour_planes(image)
        height, width = image.shape[:2]
        whole = self._place(height, width)
        pixels, matrices = [self._drawn(planes, whole)], [_matrix(whole, height, width)]
        rows, columns = best_grid(height, width, self.size, self.max_tiles)
        if rows * columns > 1:
            canvas = (rows * self.size[0], columns * self.size[1])
            inner = fitted_size(height, width, canvas)
            place = _Place(canvas, inner, ((canvas[0] - inner[0]) // 2, (canvas[1] - inner[1]) // 2))
            drawn, to_image = self._drawn(planes, place), _matrix(place, height, width)
            for top in range(0, canvas[0], self.size[0]):
                for left in range(0, canvas[1], self.size[1]):
                    pixels.append(drawn[:, top : top + self.size[0], left : left + self.size[1]])
                    shift = np.eye(4)
                    shift[1:3, 3] = top, left
                    matrices.append(to_image @ shift)
            note = (*note, f"{rows} x {columns} tiles after the whole image")
        return torch.stack(pixels), np.stack(matrices), note

    def __call__(self, image: MedicalImage) -> tuple[Tensor, NDArray[np.float64], tuple[str, ...]]:
        """Process one image as a whole, without tiles.

        Returns:
            float32 pixels `(C, H, W)`, the 4x4 matrix from `(0, h, w, 1)` of them to the image's index, and notes.
        """
        planes, note = self._colour_planes(image)
        height, width = image.shape[:2]
        place = self._place(height, width)
        return self._drawn(planes, place), _matrix(place, height, width), note

    def _drawn(self, planes: list[Image.Image], place: _Place) -> Tensor:
        """The normalised pixels `(C, H, W)` of a canvas with the image in its place."""
        resized = np.stack([self._resize(plane, place.inner) for plane in planes])
        canvas = np.full((len(planes), *place.canvas), self.pad_value, dtype=np.float32)
        target, source = _overlap(place)
        canvas[:, target[0], target[1]] = resized[:, source[0], source[1]]
        pixels = torch.from_numpy(self._channels(canvas))
        shape = (-1, 1, 1)
        return (pixels - torch.tensor(self.mean).view(shape)) / torch.tensor(self.std).view(shape)

    def _colour_planes(self, image: MedicalImage) -> tuple[list[Image.Image], tuple[str, ...]]:
        """One single-channel image per colour; 8 bit where the image is, floating point in [0, 1] otherwise."""
        if image.units == "display":
            layers = np.moveaxis(np.atleast_3d(image.array.astype(np.uint8)), 2, 0)
            return [Image.fromarray(np.ascontiguousarray(layer)) for layer in layers], ()
        window = self.window if image.units == "HU" else None
        note = f"window {self.window}" if window is not None else "scaled between percentiles"
        unit = np.moveaxis(np.atleast_3d(to_unit_range(image, window)), 2, 0)
        return [Image.fromarray(np.ascontiguousarray(layer, dtype=np.float32)) for layer in unit], (note,)

    def _resize(self, plane: Image.Image, size: tuple[int, int]) -> NDArray[np.float32]:
        resized = plane.resize((size[1], size[0]), _RESAMPLING[self.interpolation])
        array = np.asarray(resized, dtype=np.float32)
        return array / np.float32(255) if plane.mode == "L" else array.clip(0, 1)

    def _place(self, height: int, width: int) -> _Place:
        """Where the whole image lies."""
        if self.fit == "native":
            size = native_size(height, width, self.size, self.multiple)
            return _Place(size, size, (0, 0))
        if self.fit == "squash":
            return _Place(self.size, self.size, (0, 0))
        inner = self._inner(height, width)
        if self.fit == "crop":  # an odd pixel is cut at the end, as CLIP does
            offset = (-((inner[0] - self.size[0]) // 2), -((inner[1] - self.size[1]) // 2))
        else:
            offset = ((self.size[0] - inner[0]) // 2, (self.size[1] - inner[1]) // 2)
        return _Place(self.size, inner, offset)

    def _inner(self, height: int, width: int) -> tuple[int, int]:
        """The size an image is resized to where its aspect ratio is kept, fractions cut as CLIP does."""
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
    def from_settings(cls, settings: JsonMapping) -> ImageProcessor:
        """Settings of a recipe or a saved processor.

        Raises:
            RecipeError: naming every wrong key.
        """
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            raise RecipeError(f"image processor: {error}") from None

    @classmethod
    def from_huggingface(cls, settings: JsonMapping) -> ImageProcessor:
        """The settings of a Hugging Face CLIP-like image processor, from its `preprocessor_config.json`.

        Raises:
            RecipeError: it makes images of changing sizes, or does what ours does not.
        """
        return cls.from_settings(image_settings(settings))


def _overlap(place: _Place) -> tuple[list[slice], list[slice]]:
    """The part of the canvas that the image covers, and the part of the image that is on the canvas."""
    sides = zip(place.offset, place.inner, place.canvas, strict=True)
    target = [slice(max(0, o), min(s, o + n)) for o, n, s in sides]
    source = [slice(t.start - o, t.stop - o) for t, o in zip(target, place.offset, strict=True)]
    return target, source


def _matrix(place: _Place, height: int, width: int) -> NDArray[np.float64]:
    """From `(0, h, w, 1)` on the canvas to the image's index; pixel centres: the half-pixel shift is kept."""
    matrix = np.eye(4)
    for axis, length in enumerate((height, width)):
        scale = length / place.inner[axis]
        matrix[axis + 1, axis + 1] = scale
        matrix[axis + 1, 3] = (0.5 - place.offset[axis]) * scale - 0.5
    return matrix

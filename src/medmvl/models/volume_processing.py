"""VolumeProcessor: a 3D MedicalImage to the voxels of a volume encoder, and the matrix back to the scan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from torch import Tensor

from medmvl.errors import RecipeError
from medmvl.imaging.geometry import slice_axis, to_acquired_plane
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.intensity import apply_window, percentile_scale
from medmvl.imaging.resampling import crop_or_pad, resize, settle_slices


class VolumeProcessor(BaseModel):
    """Resampling and windows of 3D volumes, as plain settings that are saved with the model.

    Resampling happens in the scan's own units before any window. One channel a window; a scan that is not in HU has no
    windows: it is scaled between its own percentiles, the same in every channel.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: tuple[PositiveInt, PositiveInt, PositiveInt] = (32, 256, 256)
    """Depth, height and width of the voxels."""
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    """Resample to this spacing, then crop or pad around the centre to `size`; None stretches the scan to `size`."""
    plane: Literal["axial", "acquired"] = "acquired"
    """`acquired` keeps the plane the scan was made in, slices first; `axial` is the canonical order S, P, L."""
    interpolation: Literal["area_linear", "linear", "nearest"] = "area_linear"
    """`area_linear` averages when shrinking and is linear when enlarging."""
    padding_value: float = -1024.0
    """Fills what lies outside a scan in HU; other units are filled with the scan's minimum."""
    windows: tuple[str | tuple[float, float], ...] = ("full",)
    """One channel each: a name, or centre and width in HU."""
    mean: float = 0.5
    std: float = 0.5
    drop_unchanged: Annotated[float, Field(ge=0, lt=1)] | None = None
    """Leave out the tokens of patches that differ from the layer before by no more than this share of the window, on
    average over their voxels; None keeps all."""

    @model_validator(mode="after")
    def _needs_a_channel(self) -> VolumeProcessor:
        if not self.windows:
            raise ValueError("windows: at least one is needed, such as 'full'")
        return self

    @property
    def channels(self) -> int:
        """Channels of the voxels."""
        return len(self.windows)

    def __call__(
        self, image: MedicalImage
    ) -> tuple[Tensor, NDArray[np.float64], Tensor | None, tuple[str, ...]]:
        """Process one volume.

        Returns:
            float32 voxels `(C, D, H, W)`; the 4x4 matrix from `(d, h, w, 1)` of them to the canonical index of `image`;
            slice positions in millimetres `(D,)` or None where the scan says no spacing; and notes in plain words.
        """
        settled = settle_slices(image)
        to_original = _between(settled, image)
        array, to_settled = (
            (settled.array, np.eye(4)) if self.plane == "axial" else to_acquired_plane(settled)
        )
        voxels, to_array = self._resample(array, settled, to_settled)
        matrix = to_original @ to_settled @ to_array
        channels, note = self._channels(voxels, settled.units)
        return torch.from_numpy(channels), matrix, self._positions(settled, to_settled @ to_array), note

    def _resample(
        self, array: NDArray[Any], image: MedicalImage, to_canonical: NDArray[np.float64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        shape = (
            self.size if self.spacing_mm is None else self._shape_at_spacing(array.shape, image, to_canonical)
        )
        voxels, matrix = resize(array, shape, self.interpolation)
        if shape == self.size:
            return voxels, matrix
        fill = self.padding_value if image.units == "HU" else float(voxels.min())
        cut, shift = crop_or_pad(voxels, self.size, fill)
        return cut, matrix @ shift

    def _shape_at_spacing(
        self, shape: tuple[int, ...], image: MedicalImage, to_canonical: NDArray[np.float64]
    ) -> tuple[int, ...]:
        """The shape that brings the array to `spacing_mm`."""
        assert self.spacing_mm is not None
        if image.spacing_mm is None:
            raise ValueError(
                f"the processor resamples to {self.spacing_mm} mm, but this volume does not say its spacing; declare "
                "spacing_mm in the sample (or --spacing on the command line)."
            )
        spacing = np.abs(to_canonical[:3, :3]).T @ np.array(image.spacing_mm)
        wanted = zip(shape, spacing, self.spacing_mm, strict=True)
        return tuple(max(1, round(length * own / new)) for length, own, new in wanted)

    def _channels(
        self, voxels: NDArray[np.float32], units: str
    ) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        if units == "HU":
            unit = np.stack([apply_window(voxels, window) for window in self.windows])
            note = "windows " + ", ".join(str(window) for window in self.windows)
        else:
            unit = np.repeat(percentile_scale(voxels)[None], self.channels, axis=0)
            note = f"scaled between percentiles (units {units})"
        return ((unit - np.float32(self.mean)) / np.float32(self.std)).astype(np.float32), (note,)

    def _positions(self, image: MedicalImage, matrix: NDArray[np.float64]) -> Tensor | None:
        """Where each slice of the voxels lies along the slice axis, from the first slice of the scan."""
        if image.spacing_mm is None:
            return None
        axis = 0 if self.plane == "axial" else slice_axis(image)
        indices = matrix[axis, 0] * np.arange(self.size[0]) + matrix[axis, 3]
        return torch.from_numpy((indices * image.spacing_mm[axis]).astype(np.float32))

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> VolumeProcessor:
        """Settings of a recipe or a saved processor.

        Raises:
            RecipeError: naming every wrong key.
        """
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            raise RecipeError(f"volume processor: {error}") from None


def _between(settled: MedicalImage, image: MedicalImage) -> NDArray[np.float64]:
    """The matrix from a settled scan's index to that of the scan as it was read, through millimetres."""
    if settled is image or settled.affine is None or image.affine is None:
        return np.eye(4)
    return np.asarray(np.linalg.solve(image.affine, settled.affine), dtype=np.float64)

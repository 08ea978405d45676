"""VolumeProcessor: a 3D MedicalImage to the voxels of a volume encoder, and the matrix back to the scan."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)
from torch import Tensor

from medmvl.errors import RecipeError, UserError
from medmvl.imaging.geometry import order_matrix, reorder, to_acquired_plane
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.intensity import apply_window, otsu_threshold, percentile_scale
from medmvl.imaging.resampling import crop_or_pad, resample_uneven_slices, resize
from medmvl.json_types import JsonMapping
from medmvl.models.tiling import Shape, box_of, crop_starts, cut
from medmvl.models.volume_conventions import ConventionName, by_convention
from medmvl.schema.strict import StrictModel

BODY_HU = -500
"""Threshold in HU: denser voxels are body (or table), others are air, in or around it."""


Shape3 = tuple[PositiveInt, PositiveInt, PositiveInt]


class VolumeView(NamedTuple):
    """A scan, or a crop of it, as the encoder reads it."""

    voxels: Tensor
    """float32 `(C, D, H, W)`."""
    matrix: NDArray[np.float64]
    """4x4, from `(d, h, w, 1)` of the voxels to the canonical index of the scan."""
    positions_mm: Tensor | None
    """`(D,)`: where each slice lies along the slice axis; None where the scan says no spacing."""
    notes: tuple[str, ...]


class _Oriented(NamedTuple):
    """A scan with even slices, slices first where its own plane is kept."""

    array: NDArray[Any]
    even: MedicalImage
    to_even: NDArray[np.float64]
    to_original: NDArray[np.float64]
    """Matrix from the even scan's index to that of the scan as it was read."""

    @property
    def spacing_mm(self) -> NDArray[np.float64] | None:
        """Millimetres along the axes of the array."""
        own = self.even.spacing_mm
        return None if own is None else np.abs(self.to_even[:3, :3]).T @ np.array(own)


class VolumeProcessor(StrictModel):
    """Resampling and windows of 3D volumes, as plain settings that are saved with the model.

    Resampling happens in the scan's own units before any window. One channel per window; a scan that is not in HU has no
    windows: it is scaled between its own percentiles, the same in every channel.
    """

    size: Shape3 = (32, 256, 256)
    """Depth, height and width of the voxels; the most there may be where they are variable."""
    fit: Literal["fixed", "variable"] = "fixed"
    """`fixed` always makes `size`. `variable` makes what a scan has, at `spacing_mm` or else of its own voxels, in whole
    `multiple`s and at most `size`."""
    multiple: Shape3 = (1, 1, 1)
    """Factor of the sizes with `variable`: the encoder's patch, or what encoder and connector need together. With a
    spacing a scan is padded to it, without one it is stretched by less than half of it."""
    spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    """Resample to this spacing, then crop or pad around the centre; None stretches the scan to the size."""
    plane: Literal["axial", "acquired"] = "acquired"
    """`acquired` keeps the plane the scan was made in, slices first; `axial` is the canonical order S, P, L."""
    input_axcodes: tuple[str, str, str] | None = None
    """Turn scans of known orientation into this order instead, such as `("I", "P", "L")`; needs `plane: axial`."""
    raw_units: Literal["HU"] | None = None
    """Units assumed for arrays without declared units; None means "arbitrary"."""
    convention: ConventionName | None = None
    """Preprocess as a published model did, in place of spacing, interpolation and windows; the scan must be in HU."""
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

    crops: NonNegativeInt = 0
    """Maximum number of crops in full resolution that follow the whole scan: a grid over the body, overlapping where there
    is room. 0: none."""
    crop_size: Shape3 | None = None
    """Depth, height and width of a crop; None: `size`."""
    crop_spacing_mm: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    """The spacing of the crops; None: the scan's own voxels."""

    @model_validator(mode="after")
    def _fits(self) -> VolumeProcessor:
        if not self.windows:
            raise ValueError("windows: at least one is needed, such as 'full'")
        if any(length % step for length, step in zip(self.size, self.multiple, strict=True)):
            raise ValueError(f"size {self.size} is not in whole multiples of {self.multiple} (multiple)")
        if self.fit == "fixed" and self.multiple != (1, 1, 1):
            raise ValueError("multiple belongs to fit: variable")
        if self.input_axcodes is not None and (
            self.plane != "axial" or sorted(map(_body_axis, self.input_axcodes)) != ["AP", "LR", "SI"]
        ):
            raise ValueError("input_axcodes names three different body axes and needs plane: axial")
        if self.convention is not None and (self.fit, self.spacing_mm, self.crops) != ("fixed", None, 0):
            raise ValueError("convention fixes the preprocessing: leave out fit, spacing_mm and crops")
        if not self.crops and (self.crop_size or self.crop_spacing_mm):
            raise ValueError("crop_size and crop_spacing_mm need crops, how many there may be")
        return self

    def largest_sizes(self) -> list[Shape]:
        """The sizes of the whole scan that may give the most tokens, and the smallest one."""
        return [self.size, self.multiple] if self.fit == "variable" else [self.size]

    @property
    def channels(self) -> int:
        """Channels of the voxels."""
        return len(self.windows)

    def __call__(self, image: MedicalImage) -> VolumeView:
        """Process one volume as a whole, without crops.

        Raises:
            UserError: it does not say its spacing, or a window is no window.
        """
        return self._whole(self._oriented(image))

    def views(self, image: MedicalImage) -> list[VolumeView]:
        """Process one volume: the whole, then its crops in the order depth, height, width."""
        scan = self._oriented(image)
        return [self._whole(scan), *(self._crops(scan) if self.crops else ())]

    def _oriented(self, image: MedicalImage) -> _Oriented:
        if self.raw_units is not None and image.units == "arbitrary" and image.axcodes is None:
            image = image.with_array(image.array, units=self.raw_units)
        even = resample_uneven_slices(image)
        if self.input_axcodes is not None and even.axcodes is not None:
            array = reorder(even.array, even.axcodes, self.input_axcodes)
            to_even = order_matrix(even.axcodes, self.input_axcodes, even.shape)
        elif self.plane == "axial":
            array, to_even = even.array, np.eye(4)
        else:
            array, to_even = to_acquired_plane(even)
        return _Oriented(array, even, to_even, _between(even, image))

    def _whole(self, scan: _Oriented) -> VolumeView:
        if self.convention is not None:
            return self._by_convention(scan, self.convention)
        shape = _shape_at(scan, self.spacing_mm) if self.spacing_mm is not None else None
        size = self._size_of(scan.array.shape if shape is None else shape)
        voxels, to_array = resize(scan.array, size if shape is None else shape, self.interpolation)
        notes: tuple[str, ...] = ()
        if shape is not None and shape != size:
            fill = self.padding_value if scan.even.units == "HU" else float(voxels.min())
            voxels, shift = crop_or_pad(voxels, size, fill)
            to_array = to_array @ shift
            if any(found > kept for found, kept in zip(shape, size, strict=True)):
                notes = (f"cut around the centre from {shape} to {size} voxels of {self.spacing_mm} mm",)
        channels, note = self._channels(voxels, scan.even.units)
        return self._view(scan, channels, to_array, (*note, *notes))

    def _by_convention(self, scan: _Oriented, name: ConventionName) -> VolumeView:
        if scan.even.units != "HU":
            raise UserError(
                f"this model reads volumes in Hounsfield units (convention {name}), but this one is in "
                f"{scan.even.units!r}; if its values are HU, declare units=HU."
            )
        spacing = None if scan.spacing_mm is None else scan.spacing_mm.tolist()
        voxels, to_array = by_convention(name, scan.array, self.size, spacing)
        return self._view(scan, self._repeated(voxels), to_array, (f"convention {name}",))

    def _size_of(self, shape: tuple[int, ...]) -> Shape:
        """The voxels of the whole scan, from those it has at its spacing."""
        if self.fit == "fixed":
            return self.size
        steps = [length / step for length, step in zip(shape, self.multiple, strict=True)]
        whole = [math.ceil(n) if self.spacing_mm is not None else max(1, math.floor(n + 0.5)) for n in steps]
        depth, height, width = (
            min(n * step, most) for n, step, most in zip(whole, self.multiple, self.size, strict=True)
        )
        return depth, height, width

    def _crops(self, scan: _Oriented) -> list[VolumeView]:
        """Crops of the body; what is not in HU is scaled as one, so that crops are as bright as their scan."""
        array, to_array = scan.array, np.eye(4)
        if self.crop_spacing_mm is not None:
            array, to_array = resize(array, _shape_at(scan, self.crop_spacing_mm), self.interpolation)
        size, hounsfield = self.crop_size or self.size, scan.even.units == "HU"
        lowest = float(array.min())
        body = array > (BODY_HU if hounsfield else lowest + (otsu_threshold(array) - lowest) / 2)
        depth, height, width = array.shape
        starts, covered = crop_starts((depth, height, width), box_of(body), size, self.crops)
        values = array if hounsfield else percentile_scale(array)
        note = f"{len(starts)} crops of {size} voxels hold {covered:.0%} of the body"
        views = []
        for start in starts:
            block = cut(values, start, size, self.padding_value if hounsfield else 0.0)
            shift = np.eye(4)
            shift[:3, 3] = start
            channels = self._channels(block, "HU")[0] if hounsfield else self._repeated(block)
            views.append(self._view(scan, channels, to_array @ shift, (note,)))
        return views

    def _view(
        self,
        scan: _Oriented,
        channels: NDArray[np.float32],
        to_array: NDArray[np.float64],
        notes: tuple[str, ...],
    ) -> VolumeView:
        to_even = scan.to_even @ to_array
        positions = self._positions(scan.even, to_even, channels.shape[1])
        return VolumeView(torch.from_numpy(channels), scan.to_original @ to_even, positions, notes)

    def _channels(
        self, voxels: NDArray[np.float32], units: str
    ) -> tuple[NDArray[np.float32], tuple[str, ...]]:
        if units == "HU":
            channels = self._normalised(np.stack([apply_window(voxels, window) for window in self.windows]))
            note = "windows " + ", ".join(str(window) for window in self.windows)
        else:
            channels = self._repeated(percentile_scale(voxels))
            note = f"scaled between percentiles (units {units})"
        return channels, (note,)

    def _repeated(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        """The same in every channel, from values in [0, 1]."""
        return self._normalised(np.repeat(unit[None], self.channels, axis=0))

    def _normalised(self, unit: NDArray[np.float32]) -> NDArray[np.float32]:
        return ((unit - np.float32(self.mean)) / np.float32(self.std)).astype(np.float32)

    def _positions(self, image: MedicalImage, matrix: NDArray[np.float64], depth: int) -> Tensor | None:
        """Where each slice of the voxels lies along the slice axis, from the first slice of the scan."""
        if image.spacing_mm is None:
            return None
        axis = int(
            np.abs(matrix[:3, 0]).argmax()
        )  # of the scan, along which the slices of the voxels follow one another
        indices = matrix[axis, 0] * np.arange(depth) + matrix[axis, 3]
        return torch.from_numpy((indices * image.spacing_mm[axis]).astype(np.float32))

    @classmethod
    def from_settings(cls, settings: JsonMapping) -> VolumeProcessor:
        """Settings of a recipe or a saved processor.

        Raises:
            RecipeError: naming every wrong key.
        """
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            raise RecipeError(f"volume processor: {error}") from None


def _body_axis(code: str) -> str:
    return next((axis for axis in ("AP", "LR", "SI") if code in axis), code)


def _shape_at(scan: _Oriented, spacing_mm: tuple[float, float, float]) -> Shape:
    """The shape that brings a scan to a spacing."""
    own = scan.spacing_mm
    if own is None:
        raise UserError(
            f"the processor resamples to {spacing_mm} mm, but this volume does not say its spacing: declare "
            "spacing_mm."
        )
    wanted = zip(scan.array.shape, own, spacing_mm, strict=True)
    depth, height, width = (max(1, round(float(length * old / new))) for length, old, new in wanted)
    return depth, height, width


def _between(even: MedicalImage, image: MedicalImage) -> NDArray[np.float64]:
    """The matrix from an even scan's index to that of the scan as it was read, through millimetres."""
    if even is image or even.affine is None or image.affine is None:
        return np.eye(4)
    return np.asarray(np.linalg.solve(image.affine, even.affine), dtype=np.float64)

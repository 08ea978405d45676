"""MedicalImage: pixels with physical truth, the one object that every reader returns and every processor takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["image", "volume"]
CANONICAL_VOLUME_AXES = ("S", "P", "L")
CANONICAL_IMAGE_AXES = ("I", "L")


@dataclass(frozen=True, eq=False, kw_only=True)
class MedicalImage:
    """One 2D image or one 3D volume.

    A volume is `(depth, height, width)` in canonical radiological order: depth grows to Superior, height to
    Posterior, width to the patient's Left, so `array[0]` is the lowest axial slice and `array[k]` looks as on
    a workstation. A 2D image is `(height, width)` or `(height, width, 3)`; a frontal one has rows growing to
    Inferior and columns to the patient's Left. What has no known orientation keeps its file's order and has
    `affine` and `axcodes` None: nothing is invented.
    """

    array: NDArray[Any]
    """`(D, H, W)` for a volume, `(H, W)` or `(H, W, 3)` for an image, in `units`."""
    kind: Kind
    units: str
    """`"HU"`, `"display"` (8-bit pictures), `"arbitrary"`, the modality's own, such as `"BQML"`, a UCUM code of a mapping,
    or `"label"` and `"fraction"` of a segmentation."""
    source_format: str
    """`"dicom"`, `"nifti"`, `"nrrd"`, `"metaimage"`, `"numpy"`, `"png"`, `"jpeg"`, ..."""
    affine: NDArray[np.float64] | None = None
    """4x4, maps `(d, h, w, 1)` (an image: `(0, h, w, 1)`) to RAS+ millimetres at voxel centres."""
    axcodes: tuple[str, ...] | None = None
    """The direction in which each array axis grows, such as `("S", "P", "L")`; None where orientation is unknown."""
    acquired_axcodes: tuple[str, ...] | None = None
    """The same for the order the scan was stored in, (slices, rows, columns): `("R", "S", "P")` is a sagittal scan."""
    spacing_mm: tuple[float, ...] | None = None
    """Distance between voxel centres in array order; known for some images without orientation, too."""
    modality: str | None = None
    """DICOM modality code such as `"CT"`, only where the file or the user says it."""
    slice_positions_mm: tuple[float, ...] | None = None
    """Where gaps are uneven: the true position of every slice of `acquired_axcodes[0]`, along the canonical axis it lies on."""
    label_names: Mapping[int, str] | None = None
    """What the values of a segmentation stand for, by value, as far as the file says it."""
    warnings: tuple[str, ...] = field(default=())
    """What the reader noticed and could not settle, in plain words without identifying tags."""

    def __post_init__(self) -> None:
        """Check that the parts fit together."""
        ndim = 3 if self.kind == "volume" else 2
        colour = self.kind == "image" and self.array.ndim == 3 and self.array.shape[2] == 3
        assert self.array.ndim == ndim or colour, f"{self.kind} with array of shape {self.array.shape}"
        assert self.affine is None or self.affine.shape == (4, 4)
        for codes in (self.axcodes, self.spacing_mm):
            assert codes is None or len(codes) == ndim, f"{self.kind} with {codes}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array, in array order."""
        return tuple(int(n) for n in self.array.shape)

    def with_array(self, array: NDArray[Any], **changes: Any) -> MedicalImage:
        """Return a copy with other pixels and, by keyword, other fields."""
        return replace(self, array=array, **changes)

    def __repr__(self) -> str:
        """Show what a person needs to know, never who the patient is."""
        spacing = None if self.spacing_mm is None else "x".join(f"{s:.3g}" for s in self.spacing_mm)
        codes = None if self.axcodes is None else "".join(self.axcodes)
        return (
            f"MedicalImage({self.kind} {'x'.join(map(str, self.shape))}, spacing_mm={spacing}, axcodes={codes}, "
            f"units={self.units}, modality={self.modality}, source={self.source_format})"
        )

"""MedicalImage: pixels with physical truth, the one object that every reader returns and every processor takes."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

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
    """`"HU"`, `"display"` (8-bit images), `"arbitrary"`, the modality's own, such as `"BQML"`, a UCUM code of a mapping,
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
    """True position of every slice of `acquired_axcodes[0]` along its canonical axis, where gaps are uneven."""
    label_names: Mapping[int, str] | None = None
    """Meaning of the values of a segmentation, by value, as far as the file says it."""
    warnings: tuple[str, ...] = field(default=())
    """Doubts that the reader noticed and could not settle, in plain words without identifying tags."""

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

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the image so that `read` gives it back.

        Args:
            path: `.npz` keeps everything; `.nii` and `.nii.gz` hold regular volumes and no units; `.npy` the bare array.

        Raises:
            UserError: another suffix, or what the format cannot hold.
        """
        from medmvl.imaging.write import write_image

        write_image(self, Path(path))

    def plot(self, window: str | tuple[float, float] | None = None) -> Image.Image:
        """Draw the middle axial, coronal and sagittal plane of a volume, or the image, with sides and window named.

        Args:
            window: a name such as `"lung"`, or centre and width in Hounsfield units.
        """
        from medmvl.imaging.draw import preview

        return preview(self, window)

    def _repr_html_(self) -> str:
        """The drawing and the facts, for notebooks; never who the patient is."""
        buffer = io.BytesIO()
        self.plot().save(buffer, "PNG")
        encoded = base64.b64encode(buffer.getvalue()).decode()
        notes = "".join(f"<br>{html.escape(warning)}" for warning in self.warnings)
        facts = html.escape(repr(self))
        return f'<figure><img src="data:image/png;base64,{encoded}"><figcaption>{facts}{notes}</figcaption></figure>'

    def __repr__(self) -> str:
        """Show what a person needs to know, never who the patient is."""
        spacing = None if self.spacing_mm is None else "x".join(f"{s:.3g}" for s in self.spacing_mm)
        codes = None if self.axcodes is None else "".join(self.axcodes)
        return (
            f"MedicalImage({self.kind} {'x'.join(map(str, self.shape))}, spacing_mm={spacing}, axcodes={codes}, "
            f"units={self.units}, modality={self.modality}, source={self.source_format})"
        )

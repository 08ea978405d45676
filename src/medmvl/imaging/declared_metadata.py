"""What the user knows and the file does not say: units, spacing, axis directions, modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from medmvl.errors import ReadError
from medmvl.imaging.geometry import OPPOSITE, affine_from, orient_image, spacing_of, to_canonical
from medmvl.imaging.image import MedicalImage
from medmvl.imaging.modalities import known_modality
from medmvl.imaging.units import CT_MODALITIES, hounsfield_doubts, known_units, offset_hint

_SPATIAL_FORMATS = ("nifti", "nrrd", "metaimage", "numpy", "mgh", "analyze")


@dataclass(frozen=True)
class Declared:
    """Facts that the user gives with a path; each is used only where the file does not say it, and must not contradict it."""

    units: str | None = None
    spacing_mm: tuple[float, ...] | None = None
    """Spacing in array order: (depth, height, width), or (height, width)."""
    axcodes: tuple[str, ...] | None = None
    """Directions in which the axes of the array grow, in the file's order (slices, rows, columns), such as ("S", "P", "L")."""
    modality: str | None = None

    @classmethod
    def parse(
        cls,
        units: str | None = None,
        spacing_mm: Sequence[float] | None = None,
        axcodes: Sequence[str] | str | None = None,
        modality: str | None = None,
    ) -> Declared:
        """Check what was declared.

        Raises:
            ReadError: for units or a modality that are not in their lists, spacing that is not positive, or axis codes that
                are not two or three different axes.
        """
        spacing = None if spacing_mm is None else tuple(float(step) for step in spacing_mm)
        if spacing is not None and not all(np.isfinite(step) and step > 0 for step in spacing):
            raise ReadError(f"declared spacing_mm {spacing}: expected positive millimetres in array order")
        codes = None if axcodes is None else tuple(str(code).upper() for code in axcodes)
        if codes is not None:
            axes = {frozenset((code, OPPOSITE.get(code, "?"))) for code in codes}
            if (
                len(codes) not in (2, 3)
                or len(axes) != len(codes)
                or not all(code in OPPOSITE for code in codes)
            ):
                raise ReadError(
                    f"declared axcodes {axcodes!r}: expected a letter of R/L, A/P, S/I for each axis, such as SPL"
                )
        unit = None if units is None else known_units(units)
        said = None if modality is None else known_modality(modality)
        if unit == "HU" and said is not None and said not in CT_MODALITIES:
            raise ReadError(f"declared units HU and modality {said}: Hounsfield units are those of CT")
        return cls(unit, spacing, codes, said)


def apply_declared(image: MedicalImage, declared: Declared) -> MedicalImage:
    """Return the image with what was declared where the file is silent.

    A declared modality "CT" makes a spatial file's values Hounsfield units where they look like it: no such
    file says so.

    Raises:
        ReadError: where the file says otherwise.
    """
    image = _with_spacing(image, declared.spacing_mm)
    image = _with_axcodes(image, declared.axcodes)
    image = _with_modality(image, declared.modality)
    return _with_units(image, declared)


def _with_spacing(image: MedicalImage, spacing: tuple[float, ...] | None) -> MedicalImage:
    if spacing is None:
        return image
    expected = 3 if image.kind == "volume" else 2
    if len(spacing) != expected:
        raise ReadError(
            f"declared spacing_mm has {len(spacing)} numbers; a {image.kind} needs {expected}, in array order"
        )
    if image.spacing_mm is None:
        return replace(image, spacing_mm=spacing)
    if not np.allclose(spacing, image.spacing_mm, rtol=0.01):
        raise ReadError(
            f"declared spacing_mm {spacing} contradicts the file, which says {_rounded(image.spacing_mm)}"
        )
    return image


def _with_axcodes(image: MedicalImage, codes: tuple[str, ...] | None) -> MedicalImage:
    if codes is None:
        return image
    known = image.acquired_axcodes or image.axcodes
    if known is not None:
        if codes not in (known, image.axcodes):
            raise ReadError(
                f"declared axcodes {''.join(codes)} contradict the file, which says {''.join(known)}"
            )
        return image
    if len(codes) != (3 if image.kind == "volume" else 2):
        raise ReadError(f"declared axcodes {''.join(codes)} do not fit a {image.kind} of shape {image.shape}")
    if image.kind == "image":
        array, matrix, turned = orient_image(image.array, codes)
        spacing = image.spacing_mm
        swapped = spacing is not None and matrix[1, 1] == 0
        spacing = (spacing[1], spacing[0]) if spacing is not None and swapped else spacing
        return replace(image, array=array, axcodes=turned, acquired_axcodes=codes, spacing_mm=spacing)
    if image.spacing_mm is None:
        raise ReadError(
            "axcodes were declared without spacing_mm, and the file does not say it either: declare both"
        )
    canonical = to_canonical(image.array, affine_from(codes, image.spacing_mm))
    changes = {
        "affine": canonical.affine,
        "axcodes": ("S", "P", "L"),
        "spacing_mm": spacing_of(canonical.affine),
    }
    kept = tuple(warning for warning in image.warnings if "orientation is unknown" not in warning)
    return image.with_array(canonical.array, acquired_axcodes=codes, warnings=kept, **changes)


def _with_modality(image: MedicalImage, modality: str | None) -> MedicalImage:
    if modality is None:
        return image
    if image.modality not in (None, modality):
        raise ReadError(f"declared modality {modality} contradicts the file, which says {image.modality}")
    return replace(image, modality=modality)


def _with_units(image: MedicalImage, declared: Declared) -> MedicalImage:
    if declared.units is None:
        return _implied_units(image) if declared.modality == "CT" else image
    hounsfield = declared.units == "HU" and image.units != "HU"
    if hounsfield and image.units == "display":
        raise ReadError(
            "declared as HU, but this is an image of 8 bits: a CT saved so has lost its Hounsfield units; use the DICOM or "
            "NIfTI it was made from, or declare nothing"
        )
    if image.units not in ("arbitrary", declared.units):
        raise ReadError(f"declared units {declared.units!r} contradict the file, which says {image.units!r}")
    if hounsfield and image.modality is not None and image.modality not in CT_MODALITIES:
        raise ReadError(
            f"declared as HU, but the file says modality {image.modality}: Hounsfield units are those of CT; declare "
            "units for the CT files only"
        )
    kept = tuple(warning for warning in image.warnings if "units=" not in warning)
    doubts = hounsfield_doubts(image.array, image.kind) if hounsfield else []
    return replace(image, units=declared.units, warnings=(*kept, *doubts))


def _implied_units(image: MedicalImage) -> MedicalImage:
    if image.kind == "image" and image.source_format not in ("dicom", "numpy"):
        note = "a CT saved as an image: its Hounsfield units are lost, and no window of CT can be applied"
        note += offset_hint(image.array, image.kind)
        return replace(image, warnings=(*image.warnings, note))
    if image.units != "arbitrary" or image.kind != "volume" or image.source_format not in _SPATIAL_FORMATS:
        return image
    kept = tuple(warning for warning in image.warnings if "units=" not in warning)
    if float(image.array.min()) < -200:
        return replace(image, units="HU", warnings=kept)
    note = "declared as CT, but no value is below -200, so these may not be Hounsfield units; if they are, declare units=HU"
    return replace(image, warnings=(*kept, note))


def _rounded(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in values)

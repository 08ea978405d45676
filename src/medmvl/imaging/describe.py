"""What was read, in plain values: the JSON of `medmvl inspect`. Holds no identity and no path."""

from __future__ import annotations

from typing import Any

import numpy as np

from medmvl.imaging.image import MedicalImage
from medmvl.json_types import JsonObject


def describe(image: MedicalImage) -> JsonObject:
    """Return what a person or program needs to know about an image; `min`, `max` and `mean` are over all voxels."""
    described: JsonObject = {
        "kind": image.kind,
        "shape": list(image.shape),
        "axcodes": _listed(image.axcodes),
        "acquired_axcodes": _listed(image.acquired_axcodes),
        "spacing_mm": _listed(image.spacing_mm),
        "affine": None if image.affine is None else image.affine.tolist(),
        "units": image.units,
        "modality": image.modality,
        "min": float(image.array.min()),
        "max": float(image.array.max()),
        "mean": float(image.array.mean(dtype=np.float64)),
        "source_format": image.source_format,
        "warnings": list(image.warnings),
    }
    if image.slice_positions_mm is not None:
        described["slice_positions_mm"] = list(image.slice_positions_mm)
    if image.label_names is not None:
        described["label_names"] = {str(value): name for value, name in image.label_names.items()}
    return described


def _listed(values: tuple[Any, ...] | None) -> list[Any] | None:
    return None if values is None else list(values)

"""An image on disk between reading and use: pixels and geometry without identity, and what is said about it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from medmvl.imaging import MedicalImage
from medmvl.json_types import JsonObject


@dataclass(frozen=True)
class StoredImage:
    """One image or volume as `store_image` wrote it."""

    path: Path
    about: JsonObject
    """`kind`, `shape`, `spacing_mm`, `modality`, `units`, `warnings`; no identity."""
    plane: str
    """Which plane a 2D image shows, as far as it is known."""
    oriented: bool
    """True where it is known where its axes grow."""
    num_bytes: int

    @property
    def num_voxels(self) -> int:
        """Voxels, or pixels times colours."""
        return math.prod(self.about["shape"])


def store_image(image: MedicalImage, path: Path) -> StoredImage:
    """Write an image, and return what is known about it."""
    save_image(image, path)
    about = {
        "kind": image.kind, "shape": list(image.shape), "spacing_mm": image.spacing_mm, "modality": image.modality,
        "units": image.units, "warnings": list(image.warnings),
    }  # fmt: skip
    return StoredImage(path, about, plane_of(image), image.axcodes is not None, path.stat().st_size)


def save_image(image: MedicalImage, path: Path) -> None:
    """Write pixels and geometry, so that `load_image` gives an equal image."""
    about = {
        field.name: getattr(image, field.name)
        for field in fields(image)
        if field.name not in ("array", "affine")
    }
    affine = np.zeros(0) if image.affine is None else image.affine
    with path.open("xb") as file:
        np.savez(file, array=image.array, affine=affine, about=np.array(json.dumps(about)))


def load_image(path: Path) -> MedicalImage:
    """Read what `save_image` wrote."""
    with np.load(path, allow_pickle=False) as stored:
        about = json.loads(str(stored["about"]))
        affine = stored["affine"]
        known: JsonObject = {
            name: tuple(value) if isinstance(value, list) else value for name, value in about.items()
        }
        return MedicalImage(array=stored["array"], affine=affine if affine.size else None, **known)


def plane_of(image: MedicalImage) -> str:
    """The plane a 2D image shows: `"axial"`, `"coronal"` or `"sagittal"`; axial where nothing is known."""
    if image.kind == "volume" or image.axcodes is None:
        return "axial"
    crossed = {"S", "I"} & set(image.axcodes), {"A", "P"} & set(image.axcodes)
    return "axial" if not crossed[0] else "coronal" if not crossed[1] else "sagittal"

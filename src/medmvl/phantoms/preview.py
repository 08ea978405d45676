"""A contact sheet of a few phantoms: axial, coronal and sagittal CT next to the X-ray, one patient per row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmvl.atomic_files import atomic_write
from medmvl.phantoms.patient import make_patient
from medmvl.phantoms.presets import Preset
from medmvl.phantoms.render import render_ct, render_xray

TILE = 256


def write_preview(path: Path, *, seed: int, preset: str | Preset, patients: int = 6) -> None:
    """Draw the first patients of a seed into a PNG; the patient's right is on the left."""
    rows = []
    for index in range(patients):
        patient = make_patient(seed, index, preset)
        ct = render_ct(patient, (96, 128, 128)).array.astype(np.float32)
        xray = render_xray(patient, (TILE, TILE)).array.astype(np.float32)
        low, high = np.percentile(xray, (1, 99))
        planes = (ct[34], ct[48], ct[66], ct[::-1, 64], ct[::-1, :, 38])
        tiles = [_tile((plane + 1000) / 1400) for plane in planes]
        rows.append(np.concatenate([*tiles, _tile((xray - low) / (high - low))], axis=1))
    with atomic_write(path) as file:
        Image.fromarray(np.concatenate(rows, axis=0)).save(file, format="PNG")


def _tile(unit: NDArray[np.floating]) -> NDArray[np.uint8]:
    grey = (np.clip(unit, 0, 1) * 255).astype(np.uint8)
    return np.asarray(Image.fromarray(grey).resize((TILE, TILE), Image.Resampling.BILINEAR))

"""Synthetic chest patients from a seed, with exact ground truth. Not medicine.

One patient gives a CT, an X-ray by projection, a prior study, a report, questions in English and Chinese,
labels and boxes.
"""

from medmvl.phantoms.dataset import default_splits, iter_patient_samples, write_dataset
from medmvl.phantoms.findings import FINDINGS, Finding
from medmvl.phantoms.patient import Patient, make_patient
from medmvl.phantoms.presets import PRESETS, Preset, get_preset
from medmvl.phantoms.render import Rendering, draw_ct, draw_xray, render_ct, render_prior, render_xray

__all__ = [
    "FINDINGS", "PRESETS", "Finding", "Patient", "Preset", "Rendering", "default_splits", "draw_ct",
    "draw_xray", "get_preset",
    "iter_patient_samples", "make_patient", "render_ct", "render_prior", "render_xray",
    "write_dataset",
]  # fmt: skip

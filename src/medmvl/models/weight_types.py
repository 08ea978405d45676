"""Number types of weights: those a model can be loaded in, and those it has on disk, where parts may differ."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open

DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""Types by the names that options give them."""


def saved_types(folder: Path) -> dict[str, torch.dtype]:
    """The type of every floating point weight in a folder's safetensors files, by name; empty where there are none."""
    types = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "F64": torch.float64}
    found: dict[str, torch.dtype] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            saved = {name: weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118 (no dict)
        found |= {name: types[dtype] for name, dtype in saved.items() if dtype in types}
    return found

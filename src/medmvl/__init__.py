"""MedM-VL: build, train, evaluate and ask medical vision-language models on 2D images and 3D volumes.

Public names load on first use (PEP 562), so that `import medmvl` and `medmvl --help` cost milliseconds.
Importing the package also makes the transformers Auto classes know ours: see `medmvl.auto_classes`.
"""

from __future__ import annotations

import importlib
from typing import Any

from medmvl import auto_classes

__version__ = "0.1.0"

PUBLIC_NAMES: dict[str, str] = {
    "MedicalImage": "medmvl.imaging",
    "read": "medmvl.imaging",
    "Sample": "medmvl.schema",
    "MedMVLConfig": "medmvl.models.configuration",
    "MedMVLForConditionalGeneration": "medmvl.models.modeling",
    "MedMVLProcessor": "medmvl.models.processing",
    "VolumeProcessor": "medmvl.models.volume_processing",
    "Engine": "medmvl.engine",
    "load": "medmvl.engine",
    "Recipe": "medmvl.training.recipe",
    "train": "medmvl.training.run",
    "evaluate": "medmvl.evaluation.jobs",
}
"""Every public name and the module it comes from."""

__all__ = ["PUBLIC_NAMES", "__version__", *PUBLIC_NAMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC_NAMES:
        raise AttributeError(f"module 'medmvl' has no attribute '{name}'; it has {', '.join(PUBLIC_NAMES)}")
    return getattr(importlib.import_module(PUBLIC_NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *PUBLIC_NAMES})


auto_classes.install()

"""MedM-VL: build, train, evaluate and ask medical vision-language models on 2D images and 3D volumes.

Public names load on first use (PEP 562), so that `import medmvl` and `medmvl --help` cost milliseconds.
Importing the package also makes the transformers Auto classes know ours: see `medmvl.auto_classes`.
"""

from __future__ import annotations

import importlib
from typing import Any

from medmvl import auto_classes, foreign_warnings

__version__ = "0.2.0"

PUBLIC_NAMES: dict[str, str] = {
    # images and samples
    "MedicalImage": "medmvl.imaging",
    "read": "medmvl.imaging",
    "ImageBlock": "medmvl.schema",
    "VolumeBlock": "medmvl.schema",
    "TextBlock": "medmvl.schema",
    "Message": "medmvl.schema",
    "Sample": "medmvl.schema",
    # models
    "MedMVLConfig": "medmvl.models.configuration",
    "MedMVLForConditionalGeneration": "medmvl.models.modeling",
    "MedMVLProcessor": "medmvl.models.processing",
    "ImageProcessor": "medmvl.models.image_processing",
    "VolumeProcessor": "medmvl.models.volume_processing",
    "assemble": "medmvl.models.assemble",
    # asking
    "Engine": "medmvl.engine",
    "GenerationOptions": "medmvl.engine",
    "load": "medmvl.engine",
    # training and evaluation
    "Recipe": "medmvl.training.recipe",
    "load_recipe": "medmvl.training.recipe_files",
    "train": "medmvl.training.run",
    "evaluate": "medmvl.evaluation.jobs",
    "Results": "medmvl.evaluation.results",
    "EndpointOptions": "medmvl.evaluation.endpoint",
    "find_task": "medmvl.datasets.public",
    "UserError": "medmvl.errors",
}
"""Every public name and the module it comes from."""

__all__ = ["__version__", *PUBLIC_NAMES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in PUBLIC_NAMES:
        raise AttributeError(f"module 'medmvl' has no attribute '{name}'; it has {', '.join(PUBLIC_NAMES)}")
    return getattr(importlib.import_module(PUBLIC_NAMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)


auto_classes.install()
foreign_warnings.keep_back()

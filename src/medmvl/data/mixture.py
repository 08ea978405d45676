"""Uni-Med's mixture as sources of a recipe: which tasks there is converted data for, and their weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medmvl.data.records import SampleFile
from medmvl.errors import UserError
from medmvl.tasks import find_task
from medmvl.tasks.benchmarks.unimed import UNIMED_RATIOS, mixture_weights


def unimed_sources(folder: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the sources of `data.train`, and the tasks without data.

    Args:
        folder: holds what `medmvl data convert NAME RAW folder/NAME` wrote.

    Raises:
        UserError: where there is none of it.
    """
    files = {name: folder / find_task(name).data / "train.jsonl" for name in UNIMED_RATIOS}
    sizes = {}
    for name, path in files.items():
        if path.is_file():
            sizes[name] = sum(1 for _ in find_task(name).indices(SampleFile(path)))
    sizes = {name: size for name, size in sizes.items() if size}
    missing = [name for name in files if name not in sizes]
    if not sizes:
        wanted = sorted({find_task(name).data for name in files})
        raise UserError(f"{folder}: no converted data in it; expected folders named {', '.join(wanted)}")
    weights = mixture_weights(UNIMED_RATIOS, sizes)
    sources = [
        {"path": str(files[name]), "task": name, "weight": float(f"{weights[name]:.6g}")} for name in sizes
    ]
    return sources, missing

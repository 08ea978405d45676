"""The run folder: everything that made a run is in it, and another recipe is not continued in it."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

from medmvl.atomic_files import write_json, write_text
from medmvl.data.sources import LoadedSource
from medmvl.errors import RecipeError
from medmvl.outputs import is_free
from medmvl.plugins import GROUPS, installed
from medmvl.training.recipe import Recipe, Stage
from medmvl.training.recipe_files import dump_recipe, plain

RECIPE_FILE = "recipe.yaml"
DATA_FILE = "data.json"
HEADS_FILE, HEADS_ABOUT = "heads.safetensors", "heads.json"
"""What a stage with heads writes next to its model: weights, and what they say."""
_PACKAGES = ("medmvl", "torch", "transformers", "accelerate", "peft", "tokenizers", "safetensors", "numpy", "pydicom",
             "nibabel")  # fmt: skip


def stage_folder(out: Path, number: int, stage: Stage) -> Path:
    """`stages/02-align`."""
    return out / "stages" / f"{number:02d}-{stage.name}"


def open_run(recipe: Recipe, out: Path, is_main: bool) -> None:
    """Begin a run in `out`, or find that the run there is this recipe's.

    A run that ended before its first stage holds nothing: whatever it was to be, it begins from nothing.

    Raises:
        RecipeError: the run in `out` was made by another recipe; the message says what differs.
    """
    file = out / RECIPE_FILE
    if is_main and file.is_file() and not _has_begun(out):
        for name in (RECIPE_FILE, DATA_FILE, "versions.json"):
            (out / name).unlink(missing_ok=True)
    if file.is_file():
        old = yaml.safe_load(file.read_text(encoding="utf-8"))
        changes = differences(old, plain(recipe))
        if changes:
            listed = "\n".join(f"  {change}" for change in changes[:10])
            raise RecipeError(
                f"{out} holds a run of another recipe; give another folder, or go back:\n{listed}"
            )
    elif is_main:
        out.mkdir(0o700, parents=True, exist_ok=True)
        if not is_free(out):
            raise RecipeError(f"{out} is not empty and holds no run; give a new folder")
        write_text(file, dump_recipe(recipe))
    if is_main and not (out / "versions.json").is_file():
        write_json(out / "versions.json", versions())


def _has_begun(out: Path) -> bool:
    return (out / "stages").exists() or (out / "model").exists()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide numbers, those that offer plug-ins included."""
    found = {"python": platform.python_version(), "machine": f"{platform.system()} {platform.machine()}"}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    plugins = [plugin for group in GROUPS for plugin in installed(group).values()]
    return found | {plugin.package: plugin.version for plugin in plugins}


def record_data(out: Path, recipe: Recipe, sources: dict[str, LoadedSource]) -> None:
    """Write the digest of every source; a resumed run must find the same data.

    Raises:
        RecipeError: a data file changed since the run began.
    """
    file = out / DATA_FILE
    found = [
        {"source": json.loads(key), "samples": len(source.samples), "digest": source.digest}
        for key, source in sources.items()
    ]
    if file.is_file():
        changes = differences(
            json.loads(file.read_text(encoding="utf-8")), {"seed": recipe.seed, "sources": found}
        )
        if changes:
            raise RecipeError(
                f"the data of the run in {out} changed since it began: {'; '.join(changes[:5])}"
            )
    else:
        write_json(file, {"seed": recipe.seed, "sources": found})


def differences(old: object, new: object, path: str = "") -> list[str]:
    """What differs between two plain documents, one line per difference."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [*old, *(key for key in new if key not in old)]
        return [
            line
            for key in keys
            for line in differences(old.get(key), new.get(key), f"{path}.{key}".strip("."))
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = enumerate(zip(old, new, strict=True))
        return [line for index, (a, b) in pairs for line in differences(a, b, f"{path}.{index}")]
    return [] if old == new else [f"{path}: was {old!r}, now {new!r}"]

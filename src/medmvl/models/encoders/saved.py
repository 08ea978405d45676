"""An encoder alone as a folder: `encoder.json`, its settings, and `model.safetensors`, its weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import nn

from medmvl.atomic_files import write_json
from medmvl.errors import RecipeError

SETTINGS_FILE, WEIGHTS_FILE = "encoder.json", "model.safetensors"


def save_encoder(encoder: Any, folder: Path) -> None:
    """Write settings and weights."""
    write_json(folder / SETTINGS_FILE, encoder.part_config.to_dict())
    save_file({name: t.contiguous() for name, t in encoder.state_dict().items()}, folder / WEIGHTS_FILE)


def saved_settings(folder: str | Path, wanted: dict[str, Any]) -> dict[str, Any]:
    """The settings in a folder, with what a recipe says over them (without `path`).

    Raises:
        RecipeError: no such folder, or an encoder of another type.
    """
    path = Path(folder) / SETTINGS_FILE
    if not path.is_file():
        raise RecipeError(
            f"volume encoder: {folder} has no {SETTINGS_FILE}; make it of a published checkpoint with medmvl import."
        )
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if found["type"] != wanted.get("type"):
        raise RecipeError(
            f"volume encoder: {folder} holds a {found['type']!r}, not a {wanted.get('type')!r}."
        )
    return found | {key: value for key, value in wanted.items() if key != "path"}


def load_encoder(encoder: nn.Module, folder: str | Path) -> None:
    """Take the weights of a folder.

    Raises:
        RecipeError: they do not fit, as where a recipe changed a width.
    """
    try:
        encoder.load_state_dict(load_file(Path(folder) / WEIGHTS_FILE))
    except (RuntimeError, OSError) as error:
        raise RecipeError(f"volume encoder: the weights in {folder} do not fit: {error}") from error

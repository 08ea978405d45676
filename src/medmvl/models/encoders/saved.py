"""An encoder alone as a folder: `encoder.json`, its settings, and `model.safetensors`, its weights.

Where the preprocessing it was trained with is known, `volume_processor.json` holds it; a recipe takes it with
`volume_processor: {path: FOLDER}`.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import nn

from medmvl.atomic_files import write_json
from medmvl.errors import RecipeError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.models.encoders import Encoder

logger = logging.getLogger(__name__)
SETTINGS_FILE, WEIGHTS_FILE, PROCESSOR_FILE = "encoder.json", "model.safetensors", "volume_processor.json"


def save_encoder(encoder: Encoder, folder: Path, processor: JsonMapping | None = None) -> None:
    """Write settings and weights, and the settings of the processor it was trained with, where they are known."""
    write_json(folder / SETTINGS_FILE, encoder.part_config.to_dict())
    if processor is not None:
        write_json(folder / PROCESSOR_FILE, dict(processor))
    save_file({name: t.contiguous() for name, t in encoder.state_dict().items()}, folder / WEIGHTS_FILE)


def saved_settings(folder: str | Path, wanted: JsonObject) -> JsonObject:
    """The settings in a folder, with what a recipe says over them (without `path`).

    Raises:
        RecipeError: no such folder, or an encoder of another type.
    """
    path = Path(folder) / SETTINGS_FILE
    if not path.is_file():
        raise RecipeError(
            f"volume encoder: {folder} has no {SETTINGS_FILE}; make it of a published checkpoint with medmvl import."
        )
    found: JsonObject = json.loads(path.read_text("utf-8"))
    if found["type"] != wanted.get("type"):
        raise RecipeError(
            f"volume encoder: {folder} holds a {found['type']!r}, not a {wanted.get('type')!r}."
        )
    return found | {key: value for key, value in wanted.items() if key != "path"}


def processor_settings(wanted: JsonObject | None) -> JsonObject | None:
    """Settings of a volume processor: those in the folder that they name by `path`, with the others over them.

    Raises:
        RecipeError: the folder does not say how its encoder's volumes are processed.
    """
    if wanted is None or "path" not in wanted:
        return wanted
    path = Path(wanted["path"]) / PROCESSOR_FILE
    if not path.is_file():
        raise RecipeError(
            f"volume_processor: {wanted['path']} has no {PROCESSOR_FILE}: the preprocessing of its origin is not known here. "
            "Give size, windows and spacing in the recipe instead of path."
        )
    found: JsonObject = json.loads(path.read_text("utf-8"))
    return found | {key: value for key, value in wanted.items() if key != "path"}


def warn_of_other_processor(folder: str | Path, settings: JsonMapping) -> None:
    """Warn where an encoder is given other pixels than it was trained with; another size is a choice, without a warning."""
    path = Path(folder) / PROCESSOR_FILE
    if not path.is_file():
        return
    own = json.loads(path.read_text("utf-8"))
    other = sorted(key for key, value in own.items() if key != "size" and settings.get(key) != value)
    if other:
        logger.warning(
            "volume_encoder: the encoder in %s was trained with another preprocessing (%s) than volume_processor says; "
            "volume_processor: {path: %s} takes its own",
            folder,
            ", ".join(f"{key}: {own[key]}" for key in other),
            folder,
        )


def load_encoder(encoder: nn.Module, folder: str | Path) -> None:
    """Take the weights of a folder.

    Raises:
        RecipeError: they do not fit, as where a recipe changed a width.
    """
    try:
        encoder.load_state_dict(load_file(Path(folder) / WEIGHTS_FILE))
    except (RuntimeError, OSError) as error:
        raise RecipeError(f"volume encoder: the weights in {folder} do not fit: {error}") from error

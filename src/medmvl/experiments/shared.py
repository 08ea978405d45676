"""An LLM or encoder that is made once for all runs of an experiment.

`prepare` of an experiment names recipes that are trained once, before the runs. `prepared:NAME` in a variant's recipe becomes
the folder of the part it stands for.
"""

from __future__ import annotations

import json
from pathlib import Path

from medmvl.atomic_files import write_json
from medmvl.errors import RecipeError
from medmvl.json_types import JsonValue
from medmvl.models.assemble import load
from medmvl.models.encoders.saved import save_encoder
from medmvl.training.checkpoints import publish
from medmvl.training.recipe import Recipe
from medmvl.training.recipe_files import plain
from medmvl.training.run import train

PREFIX = "prepared:"
PREPARED_PARTS = ("llm", "image_encoder", "volume_encoder")


def place(document: JsonValue, folder: Path, part: str = "") -> JsonValue:
    """A recipe document with every `prepared:NAME` as the folder of that part under `folder`."""
    if isinstance(document, dict):
        return {
            key: place(value, folder, key if key in PREPARED_PARTS else part if key != "stages" else "")
            for key, value in document.items()
        }
    if isinstance(document, list):
        return [place(value, folder, part) for value in document]
    if isinstance(document, str) and document.startswith(PREFIX):
        return str(folder / document.removeprefix(PREFIX) / part)
    return document


def names_in(document: object) -> set[str]:
    """The preparations that a recipe document refers to."""
    if isinstance(document, dict):
        return set().union(*(names_in(value) for value in document.values()), set())
    if isinstance(document, list):
        return set().union(*(names_in(value) for value in document), set())
    is_name = isinstance(document, str) and document.startswith(PREFIX)
    return {str(document).removeprefix(PREFIX)} if is_name else set()


def prepare(recipe: Recipe, folder: Path) -> None:
    """Train a recipe and write its parts alone: `llm` with its tokenizer, `image_encoder`, `volume_encoder`.

    Raises:
        RecipeError: the folder holds what another recipe made.
    """
    made = folder / "made.json"
    if made.is_file():
        if json.loads(made.read_text(encoding="utf-8")) != plain(recipe):
            raise RecipeError(f"{folder} was made by another recipe; remove it, or give another --out")
        return
    model, processor = load(train(recipe, folder / "train"))
    for part in PREPARED_PARTS:
        module = getattr(model, part, None)
        if module is None or (folder / part).is_dir():
            continue
        with publish(folder / part) as partial:
            if part == "llm":
                module.save_pretrained(partial)
                processor.tokenizer.save_pretrained(partial)
            else:
                save_encoder(module, partial)
    write_json(made, plain(recipe))

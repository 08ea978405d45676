"""Work that runs of an experiment share: an LLM or encoder made once for all, and stages that begin alike.

`prepare` of an experiment names recipes that are trained once, before the runs. `prepared:NAME` in a variant's recipe becomes
the folder of the part it stands for. A finished stage is taken over by every run whose recipe is the same up to it.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from pathlib import Path

from medmvl.atomic_files import write_json
from medmvl.errors import RecipeError
from medmvl.json_types import JsonValue
from medmvl.models.assemble import load
from medmvl.models.encoders.saved import save_encoder
from medmvl.training.checkpoints import is_complete, link_folder, publish
from medmvl.training.recipe import Recipe
from medmvl.training.recipe_files import plain
from medmvl.training.run import train
from medmvl.training.run_folder import open_run, stage_folder

logger = logging.getLogger(__name__)
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


def take_over(recipe: Recipe, out: Path, others: Iterable[tuple[Recipe, Path]]) -> int:
    """Link the finished first stages of another run into a run that has not begun; returns how many.

    Args:
        recipe: recipe of the run in `out`.
        out: its run folder.
        others: recipes and run folders of other runs.
    """
    if (out / "recipe.yaml").is_file():
        return 0
    found = [(_alike(recipe, other, folder), other, folder) for other, folder in others]
    count, other, folder = max(found, key=lambda one: one[0], default=(0, recipe, out))
    if count:
        open_run(recipe, out, is_main=True)
    for number in range(1, count + 1):
        source = stage_folder(folder, number, other.stages[number - 1])
        target = stage_folder(out, number, recipe.stages[number - 1])
        link_folder(source / "model", target / "model")
        logger.info("stage %s is taken from %s", recipe.stages[number - 1].name, folder.parent.name)
    return count


def _alike(recipe: Recipe, other: Recipe, folder: Path) -> int:
    """How many finished first stages of another run are this recipe's, too; the last stage is every run's own."""
    if recipe.seed != other.seed or recipe.model != other.model or _texts(recipe) != _texts(other):
        return 0
    count = 0
    pairs = zip(recipe.stages[:-1], other.stages[:-1], strict=False)
    for number, (mine, theirs) in enumerate(pairs, 1):
        same = mine == theirs and recipe.data_of(mine) == other.data_of(theirs)
        if not same or not is_complete(stage_folder(folder, number, theirs) / "model"):
            break
        count = number
    return count


def _texts(recipe: Recipe) -> object:
    """What a tokenizer would be learned from; nothing where the recipe brings one."""
    llm = recipe.model.llm
    if llm is None or llm.tokenizer_vocab_size is None:
        return None
    return [recipe.data_of(stage).train for stage in recipe.stages]

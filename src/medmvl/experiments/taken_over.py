"""What is run once though several runs ask for it: stages that begin alike, and runs that are the same.

A finished stage is taken over by every run whose recipe is the same up to it, and a finished run by every experiment in the
same folder that asks for it, too: often the reference. Data files that have changed since make other runs of the same recipe.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from medmvl.atomic_files import write_json
from medmvl.data.sources import DataSource, load_source, source_key
from medmvl.errors import RecipeError
from medmvl.experiments.experiment import Evaluated
from medmvl.training.checkpoints import is_complete, link_folder, remove
from medmvl.training.recipe import Recipe
from medmvl.training.recipe_files import load_recipe
from medmvl.training.run_folder import DATA_FILE, RECIPE_FILE, open_run, stage_folder

logger = logging.getLogger(__name__)
RUNS, TRAIN, EVALUATION, DONE = "runs", "train", "evaluation", "run.json"
"""Below an experiment's folder: its runs; in each, what is trained, its answers, and, last, what it cost."""
MODEL = "model"


class DataNow:
    """Digests of data files as they are now, each file read once."""

    def __init__(self) -> None:
        self._digests: dict[str, str | None] = {}

    def changed_since(self, folder: Path, recipe: Recipe | None = None) -> str | None:
        """The first data file that is not as a run found it; None where all are, or are not here, or are drawn.

        Args:
            folder: folder of the run.
            recipe: recipe of the run, where its evaluation counts, too.
        """
        for source, digest in _data_of(folder, recipe):
            if source.path is not None and self._digest(source) not in (None, digest):
                return source.path
        return None

    def _digest(self, source: DataSource) -> str | None:
        key = source_key(source)
        if key not in self._digests:
            here = source.path is not None and Path(source.path).is_file()
            self._digests[key] = load_source(source, Path.cwd(), Path.cwd()).digest if here else None
        return self._digests[key]


def _data_of(folder: Path, recipe: Recipe | None) -> Iterator[tuple[DataSource, str]]:
    """What a run was trained on and judged by, each with its digest then."""
    trained, judged = folder / TRAIN / DATA_FILE, folder / EVALUATION / "results.json"
    if trained.is_file():
        for entry in json.loads(trained.read_text(encoding="utf-8"))["sources"]:
            yield DataSource.model_validate(entry["source"]), entry["digest"]
    if recipe is not None and judged.is_file():
        yield recipe.data.test[0], json.loads(judged.read_text(encoding="utf-8"))["data"]


def runs_next_to(out: Path) -> Iterator[tuple[Recipe, Path]]:
    """Recipes and train folders of the runs of other experiments, in the folder that `out` is in."""
    for file in sorted(out.parent.glob(f"*/{RUNS}/*/{TRAIN}/{RECIPE_FILE}")):
        if out not in file.parents:
            try:
                yield load_recipe(file), file.parent
            except RecipeError:
                continue  # of another version


def take_over_run(
    recipe: Recipe, options: Evaluated, folder: Path, others: Iterable[tuple[Recipe, Path]]
) -> bool:
    """Link a finished run of the same recipe, evaluated with the same options, and its answers; whether there was one.

    Args:
        recipe: recipe of the run in `folder`.
        options: how it is evaluated, and whether its model is to stay.
        folder: folder of a run that has not begun.
        others: recipes and train folders of other runs.
    """
    if (folder / TRAIN).exists():
        return False
    data = DataNow()
    for other, source in others:
        done = source.parent / DONE
        if other != recipe or not done.is_file() or data.changed_since(source.parent, recipe):
            continue
        cost = json.loads(done.read_text(encoding="utf-8"))
        if cost.get("evaluation") != options.asked or (
            options.keep_models and not is_complete(source / MODEL)
        ):
            continue
        weights, without = (source / MODEL, ()) if options.keep_models else (None, (MODEL,))
        if not (folder / EVALUATION).exists():  # a run that was stopped in between has it
            link_folder(source.parent / EVALUATION, folder / EVALUATION)
        if not _link(source, folder / TRAIN, weights, without):
            _remove(folder / EVALUATION)
            continue
        whole = f"{source.parents[2].name}/{source.parent.name}"
        logger.info("%s is taken from %s", folder.name, whole)
        write_json(folder / DONE, cost | {"taken_from": whole})
        return True
    return False


def take_over(recipe: Recipe, out: Path, others: Iterable[tuple[Recipe, Path]]) -> int:
    """Link the finished first stages of another run into a run that has not begun; returns how many.

    Args:
        recipe: recipe of the run in `out`.
        out: its run folder.
        others: recipes and run folders of other runs.
    """
    if (out / RECIPE_FILE).is_file():
        return 0
    data = DataNow()
    found = [
        (count, other, folder)
        for other, folder in others
        if (count := _alike(recipe, other, folder)) and not data.changed_since(folder.parent)
    ]
    count, other, folder = max(found, key=lambda one: one[0], default=(0, recipe, out))
    if count:
        open_run(recipe, out, is_main=True)
    for number in range(1, count + 1):
        source = stage_folder(folder, number, other.stages[number - 1])
        target = stage_folder(out, number, recipe.stages[number - 1])
        if not _link(source / MODEL, target / MODEL, source / MODEL):
            return number - 1
        logger.info("stage %s is taken from %s", recipe.stages[number - 1].name, folder.parent.name)
    return count


def _link(source: Path, folder: Path, weights: Path | None, without: Sequence[str] = ()) -> bool:
    """Link a folder; whether the `weights` in it, which another experiment may remove at any moment, were there to the end."""
    try:
        link_folder(source, folder, without)
    except OSError:
        if weights is None or is_complete(weights):
            raise
        return False
    return True


def remove_model(recipe: Recipe, out: Path) -> None:
    """Remove the weights of a run that is evaluated, but not those of its first stages, which other runs may take over."""
    _remove(out / MODEL, stage_folder(out, len(recipe.stages), recipe.stages[-1]))


def remove_models(recipe: Recipe, out: Path) -> None:
    """Remove all weights of a run: nobody takes over its stages any more."""
    _remove(out / MODEL, *(stage_folder(out, *numbered) for numbered in enumerate(recipe.stages, 1)))


def _remove(*folders: Path) -> None:
    for folder in folders:
        if folder.exists():
            remove(folder)


def _alike(recipe: Recipe, other: Recipe, folder: Path) -> int:
    """How many finished first stages of another run are this recipe's, too; the last stage is every run's own."""
    if recipe.seed != other.seed or recipe.model != other.model or _texts(recipe) != _texts(other):
        return 0
    count = 0
    pairs = zip(recipe.stages[:-1], other.stages[:-1], strict=False)
    for number, (mine, theirs) in enumerate(pairs, 1):
        same = mine == theirs and recipe.data_of(mine) == other.data_of(theirs)
        if not same or not is_complete(stage_folder(folder, number, theirs) / MODEL):
            break
        count = number
    return count


def _texts(recipe: Recipe) -> object:
    """What a tokenizer would be learned from; nothing where the recipe brings one."""
    llm = recipe.model.llm
    if llm is None or llm.tokenizer_vocab_size is None:
        return None
    return [recipe.data_of(stage).train for stage in recipe.stages]

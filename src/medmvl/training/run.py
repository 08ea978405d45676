"""A recipe becomes a model: the story of a run, one call per step.

The run folder holds `recipe.yaml`, `versions.json`, `data.json`, `stages/NN-name/{checkpoints,model}` and at the end
`model`, `history.jsonl` and `curves.png`. The same command again goes on where it stopped.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

from medmvl.data.prepared import default_cache_dir
from medmvl.data.sources import (
    OUTLINE_PATIENTS,
    DataSource,
    LoadedSource,
    check_here,
    open_sources,
    outline_source,
    source_key,
)
from medmvl.data.trained_on import TrainedOn
from medmvl.models.assemble import assemble
from medmvl.models.modeling import MedMVLForConditionalGeneration
from medmvl.models.processing import MedMVLProcessor
from medmvl.models.progress_bars import without_weight_bars
from medmvl.outputs import continued_folder
from medmvl.training.checkpoints import is_complete, is_intact, link_folder
from medmvl.training.history import write_curves, write_history
from medmvl.training.loader_errors import check_temporary_folder, plain_loader_errors
from medmvl.training.lost_ranks import naming_lost_ranks
from medmvl.training.recipe import Recipe
from medmvl.training.recipe_files import load_recipe
from medmvl.training.run_folder import RECIPE_FILE, open_run, record_data, stage_folder
from medmvl.training.stage import run_stage
from medmvl.training.stage_plan import plan_stage
from medmvl.training.trackers import check_trackers
from medmvl.training.trainer_arguments import processes

logger = logging.getLogger(__name__)


@without_weight_bars()
def train(recipe: Recipe | str | Path, out: str | Path) -> Path:
    """Train `recipe` in the run folder `out`, resuming what is there; returns the folder of the finished model.

    A recipe may be given by its name or its file, as `load_recipe` takes it.

    Under `torchrun` every process calls this.

    Raises:
        UserError: the recipe does not fit the data, the machine, or the run that `out` holds; before the first step.
    """
    state, out = processes(), Path(out)
    recipe = recipe if isinstance(recipe, Recipe) else load_recipe(recipe)
    check_trackers(recipe.report_to)
    check_temporary_folder(max((stage.num_workers for stage in recipe.stages), default=0))
    with (
        naming_lost_ranks(state),
        continued_folder(out, first=state.is_main_process, holds="run", marks=(RECIPE_FILE,)),
        plain_loader_errors(),
    ):
        with state.main_process_first():
            open_run(recipe, out, state.is_main_process)
            sources = load_sources(recipe, default_cache_dir())
        if state.is_main_process:
            record_data(out, recipe, sources)
            set_damaged_models_aside(recipe, out)
        state.wait_for_everyone()
        for number in range(first_unfinished(recipe, out), len(recipe.stages) + 1):
            stage = recipe.stages[number - 1]
            model, processor = start_model(recipe, out, number, sources)
            before = trained_before(recipe, out, number)
            plan = plan_stage(recipe, stage, model, processor, sources, before)
            run_stage(plan, stage_folder(out, number, stage))
        if state.is_main_process and not is_complete(out / "model"):
            finish(recipe, out)
        state.wait_for_everyone()
    return out / "model"


def first_unfinished(recipe: Recipe, out: Path) -> int:
    """Number of the next stage to run, counted from 1; the number of stages plus 1 when all are finished."""
    if is_complete(out / "model"):
        return len(recipe.stages) + 1
    for number, stage in enumerate(recipe.stages, 1):
        if not is_complete(stage_folder(out, number, stage) / "model"):
            return number
        logger.info("stage %s is finished already", stage.name)
    return len(recipe.stages) + 1


def set_damaged_models_aside(recipe: Recipe, out: Path) -> None:
    """Check the models that are needed next, newest first: a damaged one is set aside, and its stage makes it again."""
    if (out / "model").is_symlink():
        (out / "model").unlink()
    if is_complete(out / "model") and is_intact(out / "model"):
        return
    models = [stage_folder(out, number, stage) / "model" for number, stage in enumerate(recipe.stages, 1)]
    while models and not is_complete(models[-1]):
        models.pop()
    while models and not is_intact(models[-1]):
        models.pop()


def dry_run(recipe: Recipe) -> Iterator[str]:
    """Yield a block of text per stage: what would train on how much. Makes every check that comes before a first step.

    No phantom is drawn: numbers are estimates from the first patients of each split, and the last text says so.
    """
    sources = outline_sources(recipe)
    model, processor = assemble(recipe.model, texts=training_texts(recipe, sources), seed=recipe.seed)
    before = trained_before(recipe, Path(), number=1)
    for stage in recipe.stages:
        plan = plan_stage(recipe, stage, model, processor, sources, before)
        before = plan.trained_on
        yield plan.describe()
    if any(source.stands_for > 1 for source in sources.values()):
        yield (
            f"samples and tokens of phantoms are estimated from {OUTLINE_PATIENTS} patients per split; "
            "training draws all of them"
        )


def load_sources(recipe: Recipe, cache: Path) -> dict[str, LoadedSource]:
    """Every source that some stage names, once; paths start from the working folder.

    Raises:
        UserError: data files are not here; all of them are named, with what to do.
    """
    named = named_sources(recipe)
    return dict(zip(named, open_sources(named.values(), cache), strict=True))


def outline_sources(recipe: Recipe) -> dict[str, LoadedSource]:
    """What `load_sources` gives, without drawing a phantom: samples of few patients of each split.

    Raises:
        UserError: data files are not here; all of them are named, with what to do.
    """
    named = named_sources(recipe)
    check_here(named.values())
    return {key: outline_source(source, Path.cwd()) for key, source in named.items()}


def named_sources(recipe: Recipe) -> dict[str, DataSource]:
    """Sources that stages train on and validate with, each once, by their keys."""
    named: dict[str, DataSource] = {}
    for stage in recipe.stages:
        data = recipe.data_of(stage)
        named |= {source_key(source): source for source in (*data.train, *data.validation)}
    return named


def training_texts(recipe: Recipe, sources: dict[str, LoadedSource]) -> Iterator[str]:
    """All text that some stage trains on, for a tokenizer made from it."""
    seen: set[str] = set()
    for stage in recipe.stages:
        for source in recipe.data_of(stage).train:
            key = source_key(source)
            if key not in seen:
                seen.add(key)
                for sample in sources[key].samples:
                    for message in sample.messages:
                        yield from filter(None, (message.text, message.reasoning))
                    yield from filter(None, (sample.chosen, sample.rejected, sample.solution))


def start_model(
    recipe: Recipe, out: Path, number: int, sources: dict[str, LoadedSource]
) -> tuple[MedMVLForConditionalGeneration, MedMVLProcessor]:
    """Model and processor that a stage begins with: the recipe's parts, or what the stage before made of them."""
    if number == 1:
        return assemble(recipe.model, texts=training_texts(recipe, sources), seed=recipe.seed)
    before = stage_folder(out, number - 1, recipe.stages[number - 2]) / "model"
    return MedMVLForConditionalGeneration.from_pretrained(before), MedMVLProcessor.from_pretrained(before)


def trained_before(recipe: Recipe, out: Path, number: int) -> TrainedOn:
    """Patients that the model was trained on before a stage, as far as is known."""
    if number > 1:
        model = stage_folder(out, number - 1, recipe.stages[number - 2]) / "model"
    elif recipe.model.init is not None:
        model = Path(recipe.model.init)
    else:
        return TrainedOn()
    return TrainedOn.read(model) or TrainedOn(complete=False)


def finish(recipe: Recipe, out: Path) -> None:
    """Draw the curves, and link the last stage's model as the model of the run."""
    folders = [stage_folder(out, number, stage) for number, stage in enumerate(recipe.stages, 1)]
    by_length = {
        folder.name for folder, stage in zip(folders, recipe.stages, strict=True) if stage.group == "length"
    }
    write_curves(write_history(out, folders), out / "curves.png", by_length)
    link_folder(folders[-1] / "model", out / "model")
    logger.info("model: %s; curves: %s", out / "model", out / "curves.png")

"""An experiment as a story: run what is missing, then the table and the conclusions. The same command goes on after a kill.

The folder holds `runs/VARIANT-SEED/{train,evaluation}`, and at the end `experiment.json`, `table.md`, `scores.png`
and `conclusions.md`.
"""

from __future__ import annotations

import json
import logging
import os
import resource
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from medmvl.atomic_files import sweep, write_json, write_text
from medmvl.errors import BusyError, UserError
from medmvl.evaluation.compare import Run, read_run
from medmvl.experiments.conclusions import contrast_table, contrasts, outcomes, statements, table
from medmvl.experiments.experiment import Evaluated, Experiment, recipe_of
from medmvl.experiments.one_run import execute
from medmvl.experiments.plot import draw
from medmvl.experiments.shared import place, prepare
from medmvl.experiments.taken_over import (
    DONE,
    EVALUATION,
    RUNS,
    TRAIN,
    DataNow,
    remove_model,
    remove_models,
    runs_next_to,
    take_over,
    take_over_run,
)
from medmvl.json_types import JsonObject
from medmvl.output_lock import one_writer
from medmvl.outputs import LOCK
from medmvl.training.recipe import Recipe
from medmvl.training.recipe_files import load_recipe, plain
from medmvl.training.run_folder import RECIPE_FILE, differences
from medmvl.worker_processes import end_with_parent

logger = logging.getLogger(__name__)
PREPARED = "prepared"


@dataclass(frozen=True)
class PlannedRun:
    """One variant with one seed."""

    variant: str
    seed: int
    recipe: Recipe
    folder: Path

    @property
    def is_done(self) -> bool:
        """Whether it is trained and evaluated."""
        return (self.folder / DONE).is_file()

    @property
    def steps(self) -> int | None:
        """Optimizer steps of all stages; None where some stage counts epochs."""
        steps = [stage.max_steps for stage in self.recipe.stages]
        return None if None in steps else sum(step or 0 for step in steps)


def plan(
    experiment: Experiment,
    documents: dict[str, JsonObject],
    out: Path,
    seeds: Sequence[int] = (),
    only: Sequence[str] = (),
) -> list[PlannedRun]:
    """Every run of an experiment, seed by seed, or those of some seeds and variants.

    Raises:
        UserError: a variant or seed that the experiment does not have, or a recipe without exactly one test source.
    """
    for name, asked, known in (("variant", only, experiment.variants), ("seed", seeds, experiment.seeds)):
        if unknown := [str(one) for one in asked if one not in known]:
            raise UserError(f"no {name} '{unknown[0]}'; the experiment has {', '.join(map(str, known))}")
    names = [name for name in experiment.variants if not only or name in only]
    placed = {name: place(documents[name], out / PREPARED) for name in names}
    planned = [
        PlannedRun(name, seed, recipe_of(placed[name], seed, name), out / RUNS / f"{name}-{seed}")
        for seed in (seeds or experiment.seeds)
        for name in names
    ]
    for run in planned:
        if len(run.recipe.data.test) != 1:
            raise UserError(
                f"variant '{run.variant}': data.test must name one source, which all runs are judged on"
            )
    return planned


def describe(planned: Sequence[PlannedRun]) -> Iterator[str]:
    """One line per run, and how long the missing ones will take, judged by finished ones."""
    seconds = [json.loads((run.folder / DONE).read_text())["seconds"] for run in planned if run.is_done]
    for run in planned:
        steps = "unknown" if run.steps is None else str(run.steps)
        yield f"{run.variant:24} seed {run.seed}  {steps:>8} steps  {'done' if run.is_done else 'to run'}"
    missing = sum(not run.is_done for run in planned)
    if seconds and missing:
        yield f"{missing} runs to go, about {missing * sum(seconds) / len(seconds):.0f} s by {len(seconds)} finished"
    else:
        yield f"{missing} runs to go" + (", time unknown until one has finished" if missing else "")


def run_prepared(recipes: dict[str, Recipe], out: Path) -> None:
    """Make what runs share; a second process waits until it is made.

    Raises:
        UserError: it was made by another recipe, or a data file has changed since.
    """
    data = DataNow()
    for name, recipe in recipes.items():
        folder = out / PREPARED / name
        with _claimed(folder, wait=True):
            prepare(recipe, folder)
            if changed := data.changed_since(folder):
                raise UserError(
                    f"{folder} was made before {changed} changed; remove it and the runs that used it, or give another --out"
                )


def run_missing(planned: Sequence[PlannedRun], options: Evaluated, processes: int = 1, gpus: int = 1) -> None:
    """Train and evaluate what is not done; what another process is doing is left to it.

    Args:
        planned: the runs.
        options: how each is evaluated.
        processes: runs at a time, each a process of its own that has its share of the cores. With 1, runs take turns in
            this process, and peak memory is then not known.
        gpus: of each run, by `torchrun`.

    Raises:
        UserError: several runs at a time would share the same GPUs, or a finished run is not what is asked now.
    """
    if processes > 1 and gpus > 1:
        raise UserError("several runs at a time would share the same GPUs; give --processes or --gpus")
    check_done(planned, options)
    if processes == 1:
        for run in planned:
            _run_one(run, planned, options, gpus=gpus)
        return
    threads = max(1, (os.cpu_count() or 1) // processes)
    context = get_context("spawn")
    with ProcessPoolExecutor(processes, context, _begin, (threads,), max_tasks_per_child=1) as pool:
        for done in [pool.submit(_run_one, run, planned, options, alone=True) for run in planned]:
            done.result()


def check_done(planned: Sequence[PlannedRun], options: Evaluated) -> None:
    """Check that finished runs are what the experiment says now.

    Raises:
        UserError: one was made by another recipe, evaluated otherwise, or its data files have changed; says which.
    """
    data = DataNow()
    for run in planned:
        problem = _stale(run, options, data) if run.is_done else None
        if problem is not None:
            raise UserError(
                f"{run.folder} {problem}; remove that folder to run it again, or give another --out"
            )


def _stale(run: PlannedRun, options: Evaluated, data: DataNow) -> str | None:
    """Why a finished run does not answer what is asked now."""
    file = run.folder / TRAIN / RECIPE_FILE
    if file.is_file() and load_recipe(file) != run.recipe:
        changes = differences(plain(load_recipe(file)), plain(run.recipe))
        return f"was made by another recipe ({'; '.join(changes[:5])})"
    before = json.loads((run.folder / DONE).read_text(encoding="utf-8")).get("evaluation")
    if before is not None and before != options.asked:
        return f"was evaluated with other settings ({'; '.join(differences(before, options.asked))})"
    changed = data.changed_since(run.folder, run.recipe)
    return None if changed is None else f"was made before {changed} changed"


def _begin(threads: int) -> None:
    end_with_parent()
    torch.set_num_threads(threads)
    logging.basicConfig(level=logging.INFO, format="%(message)s")


def _run_one(
    run: PlannedRun,
    planned: Sequence[PlannedRun],
    options: Evaluated,
    *,
    alone: bool = False,
    gpus: int = 1,
) -> None:
    with _claimed(run.folder) as mine:
        if not mine or run.is_done:
            return
        logger.info("%s, seed %d", run.variant, run.seed)
        others = [(other.recipe, other.folder / TRAIN) for other in planned if other is not run]
        others += runs_next_to(run.folder.parents[1])
        with _claimed(run.folder.parent / "sharing", wait=True):
            linked = take_over_run(run.recipe, options, run.folder, others)
            taken = 0 if linked else take_over(run.recipe, run.folder / TRAIN, others)
        if not linked:
            cost = execute(run.recipe, run.folder, options, gpus)
            if alone:
                cost["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            write_json(run.folder / DONE, cost | {"stages_taken_over": taken, "evaluation": options.asked})
        if not options.keep_models:
            remove_model(run.recipe, run.folder / TRAIN)


def conclude(experiment: Experiment, planned: Sequence[PlannedRun], out: Path) -> str:
    """Write `experiment.json`, `table.md` and `conclusions.md` of the finished runs; returns the conclusions.

    Raises:
        UserError: the reference has no finished run, or a finished run is not what the experiment says.
    """
    sweep(out)
    check_done(planned, experiment.evaluation)
    if not experiment.evaluation.keep_models and all(run.is_done for run in planned):
        for run in planned:
            remove_models(run.recipe, run.folder / TRAIN)
    runs: dict[str, dict[int, Run]] = {name: {} for name in experiment.variants}
    for run in planned:
        if run.is_done:
            runs[run.variant][run.seed] = read_run(run.folder / EVALUATION)
    found = outcomes(runs, experiment.reference)
    further = contrasts(runs, experiment.contrasts)
    missing = [f"{run.variant}-{run.seed}" for run in planned if not run.is_done]
    costs = {f"{r.variant}-{r.seed}": json.loads((r.folder / DONE).read_text()) for r in planned if r.is_done}
    write_json(
        out / "experiment.json",
        {
            "experiment": experiment.model_dump(mode="json"),
            "missing": missing,
            "runs": costs,
            "outcomes": [outcome.to_json() for outcome in found],
            "contrasts": [outcome.to_json() for outcome in further],
        },
    )
    cluster = next(iter(runs[experiment.reference].values())).about.get("cluster", "patient")
    text = f"# {experiment.question}\n\n{statements(found, experiment.reference, further, cluster)}"
    if missing:
        text += f"\nNot run yet: {', '.join(missing)}.\n"
    write_text(out / "table.md", table(found, costs) + (f"\n{contrast_table(further)}" if further else ""))
    draw(found, experiment.question, out / "scores.png")
    write_text(out / "conclusions.md", text)
    return text


@contextmanager
def _claimed(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether this process has the folder; the lock goes with the process, also when it is killed."""
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            stack.enter_context(one_writer(folder / LOCK, folder, wait=wait))
        except BusyError:
            yield False
            return
        sweep(folder)
        yield True

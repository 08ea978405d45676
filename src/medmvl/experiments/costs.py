"""What the runs of an experiment would cost on GPUs, before any of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from medmvl.experiments.run import PlannedRun
from medmvl.training.estimate import Assumptions, estimate
from medmvl.training.model_shapes import missing_data, missing_models
from medmvl.training.recipe import Recipe


def costs(planned: Sequence[PlannedRun], assumptions: Assumptions) -> Iterator[str]:
    """One line per variant: parameters, visual tokens and GPU-hours of a run, without weights or data; then the sum to run.

    Raises:
        RecipeError: a model that is neither here nor in the table of public ones.
    """
    yield f"{'variant':24}{'parameters':>16}{'visual tokens':>16}{'GiB a GPU':>12}{'GPU-hours a run':>18}"
    total = 0.0
    for name in dict.fromkeys(run.variant for run in planned):
        runs = [run for run in planned if run.variant == name]
        found = estimate(runs[0].recipe, assumptions)
        memory = max(stage.gib for stage in found.stages)
        hours = sum(stage.hours for stage in found.stages)
        total += hours * sum(not run.is_done for run in runs)
        parameters = sum(count for _, count in found.parts.values())
        tokens = " + ".join(str(count) for count in found.visual_tokens.values())
        yield f"{name:24}{parameters:>16,}{tokens:>16}{memory:>12.1f}{hours:>18,.1f}"
    share = f"{assumptions.hardware} at {assumptions.utilisation:.0%} of its peak"
    yield f"{total:,.0f} GPU-hours to go on {share}, evaluation not counted"
    absent = dict.fromkeys(path for run in planned for path in _absent(run.recipe))
    if absent:
        yield f"needed and not on this machine: {', '.join(absent)}"


def _absent(recipe: Recipe) -> list[str]:
    """Weights, and data to learn from and to judge by, that are not here."""
    tests = [source.path for source in recipe.data.test if source.path and not Path(source.path).exists()]
    return [*missing_models(recipe), *missing_data(recipe), *tests]

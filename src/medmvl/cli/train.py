"""`medmvl train RECIPE [key=value ...] --out DIR`: train, or go on where a killed run stopped."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medmvl.training.estimate import Assumptions
    from medmvl.training.recipe import Recipe


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes, such as stages.0.learning_rate=1e-4", metavar="KEY=VALUE"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; default: runs/RECIPE.")] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show parts, tokens, memory, hours and shares; check what is here."),
    ] = False,
    hardware: Annotated[
        str, typer.Option(help="GPU assumed in the estimate: h100-80gb, a100-40gb, ...")
    ] = "a100-80gb",
    gpus: Annotated[int, typer.Option(min=1, help="Number of GPUs in the estimate.")] = 1,
    utilisation: Annotated[
        float, typer.Option(min=0.01, max=1.0, help="Share of the peak that training reaches.")
    ] = 0.35,
    text_tokens: Annotated[int, typer.Option(min=1, help="Text tokens assumed per sample.")] = 128,
    samples: Annotated[
        int, typer.Option(min=1, help="Samples assumed per data file that is not here.")
    ] = 100_000,
    network: Annotated[
        float | None,
        typer.Option(min=0.01, help="Gigabytes per second of a GPU between nodes, in the estimate."),
    ] = None,
    read_seconds: Annotated[
        float | None,
        typer.Option(min=0.0, help="CPU seconds to read the scans of a sample, in the estimate."),
    ] = None,
) -> None:
    """Train a model by a recipe, stage by stage. The same command continues a training that was stopped."""
    from medmvl.training.recipe_files import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    if dry_run:
        from medmvl.training.estimate import Assumptions

        _look(loaded, Assumptions(hardware, gpus, utilisation, text_tokens, samples, network, read_seconds))
    else:
        _train(loaded, out or Path("runs") / Path(recipe).stem)


def _train(recipe: Recipe, out: Path) -> None:
    """Train; a stop says where the same command goes on, with the exit code of its signal."""
    from medmvl.training import run
    from medmvl.training.interruption import StoppedError
    from medmvl.training.trainer_arguments import processes

    try:
        model = run.train(recipe, out)
        if processes().is_main_process:
            typer.echo(model)
    except StoppedError as stopped:
        typer.echo(str(stopped), err=True)
        raise typer.Exit(128 + stopped.number) from None
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on from the last checkpoint or stage in it", err=True)
        raise typer.Exit(130) from None


def _look(recipe: Recipe, assumptions: Assumptions) -> None:
    """The estimate, and where everything is here every check that comes before the first step."""
    from medmvl.training import run
    from medmvl.training.estimate import estimate
    from medmvl.training.model_shapes import missing_data, missing_models

    for line in estimate(recipe, assumptions).lines():
        typer.echo(line)
    if missing := [*missing_models(recipe), *missing_data(recipe)]:
        typer.echo(f"not checked against data and weights: {', '.join(missing)} not on this machine")
        return
    for text in run.dry_run(recipe):
        typer.echo(text)

"""`medmvl train RECIPE [key=value ...] --out DIR`: train, or go on where a killed run stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Changes, such as stages.0.learning_rate=1e-4", metavar="KEY=VALUE"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/RECIPE where it is not given.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and show the stages.")] = False,
) -> None:
    from medmvl.training import run
    from medmvl.training.recipe_files import load_recipe

    loaded = load_recipe(recipe, overrides or ())
    if dry_run:
        for text in run.dry_run(loaded):
            typer.echo(text)
    else:
        typer.echo(run.train(loaded, out or Path("runs") / Path(recipe).stem))

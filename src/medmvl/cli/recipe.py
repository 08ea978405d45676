"""`medmvl recipe list | show | schema`: the keys of a recipe and the recipes that ship with the package."""

from __future__ import annotations

import json
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List and show recipes, and the schema of their keys."
)


@app.command("list")
def list_recipes() -> None:
    """Names and descriptions of the recipes that ship with the package."""
    from medmvl.training.recipe_files import recipe_names, resolve

    width = max(map(len, recipe_names()))
    for name in recipe_names():
        typer.echo(f"{name:{width}}  {resolve(name).get('description', '')}")


@app.command()
def show(
    recipe: Annotated[str, typer.Argument(help="Name of a shipped recipe, or a YAML file.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE")] = None,
    short: Annotated[bool, typer.Option("--short", help="Leave out keys at their defaults.")] = False,
) -> None:
    """A recipe with everything it extends and every default."""
    from medmvl.training.recipe_files import dump_recipe, load_recipe

    typer.echo(dump_recipe(load_recipe(recipe, overrides or ()), short=short), nl=False)


@app.command()
def schema() -> None:
    """The JSON Schema of recipes, for editors."""
    from medmvl.training.recipe import Recipe

    typer.echo(json.dumps(Recipe.model_json_schema(), indent=2))

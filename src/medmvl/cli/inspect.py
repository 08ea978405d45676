"""`medmvl inspect`: show what was read from a file or folder, and exactly what a model will see of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medmvl.json_types import JsonObject

if TYPE_CHECKING:
    from medmvl.imaging import MedicalImage
    from medmvl.models.visual_preprocessor import VisualPreprocessor


def inspect(
    path: Annotated[str, typer.Argument(help="A file or DICOM folder; #series=2, #frame=3, #time=1 choose.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    preview: Annotated[
        Path | None, typer.Option(help="Draw into this PNG; with --model, what the model sees.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Model folder or recipe: also show what it will see.")
    ] = None,
    units: Annotated[str | None, typer.Option(help="Where the file does not say it, such as HU.")] = None,
    modality: Annotated[str | None, typer.Option(help="Where the file does not say it, such as CT.")] = None,
    spacing: Annotated[
        str | None, typer.Option(help="Millimetres in array order, such as 5,0.7,0.7.")
    ] = None,
    axcodes: Annotated[
        str | None, typer.Option(help="Where the axes grow in file order, such as SPL.")
    ] = None,
    window: Annotated[
        str | None, typer.Option(help="Window of the preview: lung, bone, ... or -600,1500.")
    ] = None,
) -> None:
    """Show what a file or folder holds: kind, shape, orientation, spacing, units, range, warnings."""
    from medmvl.cli.asking import named_as_options
    from medmvl.errors import ReadError
    from medmvl.imaging import read
    from medmvl.imaging.describe import describe

    spacing_mm = None if spacing is None else _numbers(spacing, "--spacing")
    try:
        image = read(path, units=units, spacing_mm=spacing_mm, axcodes=axcodes, modality=modality)
    except ReadError as error:
        raise error.reworded(lambda said: f"{said}{_other_images(path)}") from error
    described = describe(image)
    if model is not None:
        with named_as_options():
            described["model"] = _seen_by(model, image, preview)
    elif preview is not None:
        _draw(image, preview, window)
    typer.echo(json.dumps(described, ensure_ascii=False)) if as_json else _print_table(path, described)
    if not as_json and (others := _other_images(path)):
        typer.echo(others.strip(), err=True)


def _other_images(path: str) -> str:
    """Say which images of other formats a folder holds, as reading it takes its DICOM files alone."""
    from medmvl.imaging.read import other_images
    from medmvl.messages import first_of

    folder = Path(path)
    found = other_images(folder) if folder.is_dir() else []
    lines = [f"{file.relative_to(folder)}: {name}" for file, name in found]
    head = "images of other formats are there, too; name one of them to read it:"
    return f"\n{head}\n  " + first_of(lines, separator="\n  ") if found else ""


def _seen_by(model: str, image: MedicalImage, preview: Path | None) -> JsonObject:
    """Describe what a model sees, and draw it at its own size where a preview is asked for."""
    from medmvl.atomic_files import atomic_write
    from medmvl.models.visual_preprocessor import describe
    from medmvl.outputs import continued_file

    preprocessor = _preprocessor_of(model)
    visual = preprocessor.process(image)
    if preview is not None:
        with continued_file(preview), atomic_write(preview) as file:
            preprocessor.draw(visual).save(file, format="PNG")
        typer.echo(f"what the model sees: {preview}", err=True)
    return describe(visual)


def _preprocessor_of(model: str) -> VisualPreprocessor:
    """The visual preprocessor of a saved model, or of the model that a recipe will build."""
    from medmvl.models.assemble import preprocessor_of
    from medmvl.models.model_recipe import ModelRecipe
    from medmvl.models.saved_folder import check_is_model
    from medmvl.training.recipe_files import load_recipe

    saved = Path(model).is_dir()
    if saved:
        check_is_model(Path(model))
    return preprocessor_of(ModelRecipe(init=model) if saved else load_recipe(model).model)


def _draw(image: MedicalImage, out: Path, window: str | None) -> None:
    from medmvl.atomic_files import atomic_write
    from medmvl.imaging.draw import preview
    from medmvl.imaging.intensity import WINDOWS
    from medmvl.outputs import continued_file

    chosen: str | tuple[float, float] | None = window
    if window is not None and window not in WINDOWS and "," in window:
        centre, width = _numbers(window, "--window", 2)
        chosen = (centre, width)
    drawn = preview(image, chosen)
    with continued_file(out), atomic_write(out) as file:
        drawn.save(file, format="PNG")
    typer.echo(f"preview: {out}", err=True)


def _numbers(text: str, option: str, count: int | None = None) -> list[float]:
    from medmvl.errors import UserError

    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"{option} {text}: expected numbers with commas between them") from error
    if count is not None and len(numbers) != count:
        raise UserError(f"{option} {text}: expected {count} numbers, found {len(numbers)}")
    return numbers


def _print_table(path: str, described: JsonObject) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    console.print(Text(path, style="italic"), soft_wrap=True)  # a path is not broken within a name
    table = Table(show_header=False)
    for key, value in described.items():
        if key != "warnings":
            table.add_row(key, Text(_shown(value)))
    console.print(table)
    for warning in described["warnings"]:
        console.print(Text(f"warning: {warning}", style="yellow"))


def _shown(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_shown(part)}" for key, part in value.items())
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "\n".join(f"{number}\n{_shown(part)}" for number, part in enumerate(value, 1))
    if isinstance(value, list) and value and isinstance(value[0], list) and isinstance(value[0][0], list):
        return "\n".join(f"{number}\n{_shown(part)}" for number, part in enumerate(value))
    if isinstance(value, list) and value and isinstance(value[0], list):
        return "\n".join("  ".join(f"{number:10.4g}" for number in row) for row in value)
    if isinstance(value, list):
        return " x ".join(_shown(part) for part in value)
    return str(value)

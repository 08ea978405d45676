"""`medmvl parts`: every encoder and connector there is, with its size and what it makes of a given input."""

from __future__ import annotations

from typing import Annotated

import typer


def parts(
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables of the documentation.")
    ] = False,
    image: Annotated[
        str | None, typer.Option(help="Height x width, such as 256x256; default: each encoder's own.")
    ] = None,
    volume: Annotated[
        str | None, typer.Option(help="Depth x height x width, such as 32x256x256; default: likewise.")
    ] = None,
    llm_width: Annotated[
        int, typer.Option(min=1, help="Hidden size of the LLM, which connectors give.")
    ] = 2048,
) -> None:
    """List all parts, built in and from plug-ins: what goes in, parameters, tokens out."""
    from medmvl.models.catalogue import catalogue, markdown

    entries = catalogue(_size(image, "--image", 2), _size(volume, "--volume", 3), llm_width)
    if as_markdown:
        typer.echo(markdown(entries), nl=False)
        return
    from rich.console import Console
    from rich.table import Table

    from medmvl.models.catalogue import in_words
    from medmvl.plugins import installed

    console = Console()
    for role in dict.fromkeys(entry.role for entry in entries):
        table = Table(title=f"{role}s", title_justify="left")
        for column in (role, "goes in", "tokens out", "parameters", "from"):
            table.add_column(column)
        for entry in entries:
            if entry.role == role:
                size = in_words(entry.parameters)
                table.add_row(entry.name, entry.reads, entry.gives, size, entry.source or "medmvl")
        console.print(table)
    for group in ("medmvl.tasks", "medmvl.datasets"):
        for plugin in installed(group).values():
            console.print(
                f"{group.removeprefix('medmvl.').removesuffix('s')} {plugin.name} from {plugin.source}"
            )


def _size(text: str | None, option: str, count: int) -> tuple[int, ...] | None:
    from medmvl.errors import UserError

    if text is None:
        return None
    lengths = text.lower().split("x")
    if len(lengths) != count or not all(length.isdigit() and int(length) for length in lengths):
        expected = "x".join(("DEPTH", "HEIGHT", "WIDTH")[-count:])
        raise UserError(
            f"{option} {text}: expected {expected} in whole numbers, such as {'x'.join(['32'] * count)}"
        )
    return tuple(int(length) for length in lengths)

"""`medmvl parts`: every encoder and connector there is, with its size and what it makes of a given input."""

from __future__ import annotations

from typing import Annotated

import typer


def parts(
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables of the documentation.")
    ] = False,
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="Input of image encoders, 256x256, or of volume encoders, 32x256x256; may be repeated. "
            "Default: each encoder's own."
        ),
    ] = None,
    llm_width: Annotated[
        int, typer.Option(min=1, help="Hidden size of the LLM, which connectors give.")
    ] = 2048,
) -> None:
    """List all parts, built in and from plug-ins: what goes in, parameters, tokens out."""
    from medmvl.models.catalogue import catalogue, markdown

    sizes = [_size(text) for text in size or []]
    image, volume = (next((s for s in sizes if len(s) == length), None) for length in (2, 3))
    entries = catalogue(image, volume, llm_width)
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
                parameters = in_words(entry.parameters)
                table.add_row(entry.name, entry.reads, entry.gives, parameters, entry.source or "medmvl")
        console.print(table)
    for group in ("medmvl.tasks", "medmvl.datasets"):
        for plugin in installed(group).values():
            console.print(
                f"{group.removeprefix('medmvl.').removesuffix('s')} {plugin.name} from {plugin.source}"
            )


def _size(text: str) -> tuple[int, ...]:
    from medmvl.errors import UserError

    lengths = text.lower().split("x")
    if len(lengths) not in (2, 3) or not all(length.isdigit() and int(length) for length in lengths):
        raise UserError(
            f"--size {text}: expected HEIGHTxWIDTH or DEPTHxHEIGHTxWIDTH in whole numbers, such as 256x256 or 32x256x256"
        )
    return tuple(int(length) for length in lengths)

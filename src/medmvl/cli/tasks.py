"""`medmvl tasks`: every task that `evaluate --tasks`, `score --task` and a recipe's `task:` know."""

from __future__ import annotations

from typing import Annotated

import typer


def tasks(
    data: Annotated[str, typer.Option(help="Only tasks of this data set, such as slake.")] = "",
) -> None:
    """List tasks: name, data set, protocol and title."""
    from medmvl.datasets.public import TASKS
    from medmvl.errors import UserError

    chosen = [task for task in TASKS.values() if data in ("", task.data)]
    if not chosen:
        known = ", ".join(sorted({task.data for task in TASKS.values()}))
        raise UserError(f"no task of data set '{data}'; data sets with tasks: {known}")
    typer.echo(f"{'task':24}{'data set':16}{'protocol':15}title")
    for task in chosen:
        typer.echo(f"{task.name:24}{task.data:16}{task.protocol:15}{task.title}")

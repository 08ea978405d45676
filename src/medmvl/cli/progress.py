"""What the verbs of `medmvl data` show: progress on stderr, and the files that were written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from medmvl.json_types import JsonObject


@contextmanager
def progress_bar() -> Iterator[Any]:
    """A progress bar on stderr, one line for each thing that is done."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, Any] = {}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:

        def progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total)
            bar.update(tasks[what], completed=done)

        yield progress


@contextmanager
def counter(what: str) -> Iterator[Any]:
    """A count on stderr of what has no known end."""
    from tqdm import tqdm

    with tqdm(desc=what, unit=" records", mininterval=0.5, leave=False) as bar:
        yield lambda done: bar.update(done - bar.n)


def print_splits(out: Path, summary: JsonObject) -> None:
    """The files of a data set that was written, one line per split."""
    for name, counts in summary["splits"].items():
        typer.echo(f"{out / name}.jsonl: {counts['samples']} samples, {counts['patients']} patients")

"""`medmvl study STUDY.yaml`: run what is missing of a study, then its table and findings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def study(
    file: Annotated[Path, typer.Argument(help="The study, a YAML file.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study; runs/studies/NAME without it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and how long.")] = False,
    seeds: Annotated[str, typer.Option(help="Only these seeds, such as 0,1.")] = "",
    only: Annotated[str, typer.Option(help="Only these variants, such as a,b.")] = "",
) -> None:
    """Run what is missing of a study; start the same command several times to share the work."""
    from medmvl.studies.run import describe, plan, report, run_missing
    from medmvl.studies.study import load_study

    loaded, documents = load_study(file)
    folder = out or Path("runs") / "studies" / file.stem
    chosen = [name.strip() for name in only.split(",") if name.strip()]
    planned = plan(loaded, documents, folder, [int(seed) for seed in seeds.split(",") if seed], chosen)
    if dry_run:
        for line in describe(planned):
            typer.echo(line)
        return
    run_missing(planned, loaded.evaluation)
    typer.echo(report(loaded, plan(loaded, documents, folder), folder))

"""`medmvl study STUDY.yaml`: run what is missing of a study, then its table and findings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def study(
    study: Annotated[str, typer.Argument(help="The study: a YAML file, or the name of a shipped one.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the study; runs/studies/NAME without it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and how long.")] = False,
    seeds: Annotated[str, typer.Option(help="Only these seeds, such as 0,1.")] = "",
    only: Annotated[str, typer.Option(help="Only these variants, such as a,b.")] = "",
    processes: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    gpus: Annotated[int, typer.Option(min=1, help="Of each run, by torchrun; without any, processes.")] = 1,
    hardware: Annotated[
        str | None, typer.Option(help="With --dry-run, estimate GPU-hours on it: h100-80gb, a100-40gb, ...")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Of the estimate, a data file that is not here.")
    ] = 100_000,
) -> None:
    """Run what is missing of a study; start the same command several times to share the work."""
    from medmvl.studies.costs import costs
    from medmvl.studies.run import describe, plan, report, run_missing, run_prepared
    from medmvl.studies.study import load_study, preparations, study_file
    from medmvl.training.estimate import Assumptions

    file = study_file(study)
    loaded, documents = load_study(file)
    folder = out or Path("runs") / "studies" / file.stem
    chosen = [name.strip() for name in only.split(",") if name.strip()]
    planned = plan(loaded, documents, folder, [int(seed) for seed in seeds.split(",") if seed], chosen)
    prepared = preparations(loaded, file)
    if dry_run:
        for name in prepared:
            typer.echo(f"prepared once: {name}")
        for line in describe(planned):
            typer.echo(line)
        if hardware is not None:
            for line in costs(planned, Assumptions(hardware, gpus, samples=samples)):
                typer.echo(line)
        return
    run_prepared(prepared, folder)
    run_missing(planned, loaded.evaluation, processes, gpus)
    typer.echo(report(loaded, plan(loaded, documents, folder), folder))

"""`medmvl experiment EXPERIMENT.yaml`: run what is missing of an experiment, then its table and conclusions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def experiment(
    experiment: Annotated[
        str, typer.Argument(help="The experiment: a YAML file, or the name of a shipped one.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the experiment; runs/experiments/NAME without it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would run, and how long.")] = False,
    seeds: Annotated[str, typer.Option(help="Only these seeds, such as 0,1.")] = "",
    only: Annotated[str, typer.Option(help="Only these variants, such as a,b.")] = "",
    processes: Annotated[int, typer.Option(min=1, help="Runs at a time.")] = 1,
    gpus: Annotated[int, typer.Option(min=1, help="GPUs per run, by torchrun; without any, processes.")] = 1,
    hardware: Annotated[
        str | None, typer.Option(help="With --dry-run, estimate GPU-hours on it: h100-80gb, a100-40gb, ...")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=1, help="Samples assumed per data file that is not here.")
    ] = 100_000,
) -> None:
    """Run what is missing of an experiment; start the same command several times to share the work."""
    from medmvl.cli.asking import listed
    from medmvl.errors import UserError
    from medmvl.experiments.costs import costs
    from medmvl.experiments.experiment import experiment_file, load_experiment, preparations
    from medmvl.experiments.run import conclude, describe, plan, run_missing, run_prepared
    from medmvl.training.estimate import Assumptions

    file = experiment_file(experiment)
    loaded, documents = load_experiment(file)
    folder = out or Path("runs") / "experiments" / file.stem
    chosen = listed(only)
    try:
        numbers = [int(seed) for seed in listed(seeds)]
    except ValueError:
        raise UserError(f"--seeds {seeds}: expected whole numbers with commas between them") from None
    planned = plan(loaded, documents, folder, numbers, chosen)
    prepared = preparations(loaded, file, documents, chosen)
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
    whole = plan(loaded, documents, folder)
    if any(run.is_done for run in whole if run.variant == loaded.reference):
        typer.echo(conclude(loaded, whole, folder))
    else:
        typer.echo(f"Nothing is compared before the reference '{loaded.reference}' has a finished run.")

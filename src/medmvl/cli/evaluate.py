"""`medmvl evaluate`: score a model on unseen samples next to its controls, with intervals over patients."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medmvl.cli.options import Device, Dtype, ImageRoot, MaxNewTokens, VolumeRoot
from medmvl.errors import UserError

if TYPE_CHECKING:
    from medmvl.evaluation.results import Results


KEY_VARIABLE = "MEDMVL_ENDPOINT_KEY"


def evaluate(
    data: Annotated[
        Path, typer.Option(help="Unseen samples, .jsonl or .json; with --tasks the folder of converted data.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for results.json, answers.jsonl, report.html and cases.png.")
    ],
    model: Annotated[Path | None, typer.Argument(help="Folder of a saved model; or --endpoint.")] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(help=f"OpenAI-compatible address, .../v1; its key is read from {KEY_VARIABLE}."),
    ] = None,
    endpoint_model: Annotated[str | None, typer.Option(help="The model's name at the endpoint.")] = None,
    send_data_to_endpoint: Annotated[
        bool, typer.Option("--send-data-to-endpoint", help="Images and questions may go to another machine.")
    ] = False,
    volume_as: Annotated[
        str, typer.Option(help="To an endpoint: volume, slices:N, or auto: what medmvl serve takes.")
    ] = "auto",
    concurrency: Annotated[int, typer.Option(min=1, max=32, help="Scans asked about at once.")] = 4,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds an endpoint has for one answer.")] = 120.0,
    retries: Annotated[int, typer.Option(min=0, help="After 429, 503 or a broken connection.")] = 5,
    tasks: Annotated[
        str, typer.Option(help="Names of tasks, such as vqa-rad,slake-en; each gets a folder in --out.")
    ] = "",
    protocol: Annotated[
        str, typer.Option(help="Score by these published conventions, too, strict and reader next to them.")
    ] = "",
    train: Annotated[Path | None, typer.Option(help="Training samples, for the majority answer.")] = None,
    image_root: ImageRoot = None,
    volume_root: VolumeRoot = None,
    limit_patients: Annotated[
        int | None, typer.Option(min=1, help="Evaluate only the first N patients.")
    ] = None,
    controls: Annotated[
        bool, typer.Option(help="Majority answer, no image, and swapped image (another patient's).")
    ] = True,
    robustness: Annotated[
        str, typer.Option(help="Answer again with shifted pictures: noise,resolution,window,slices.")
    ] = "",
    consistency: Annotated[
        bool, typer.Option(help="Ask again in other words, and compare English with Chinese.")
    ] = False,
    calibration: Annotated[
        bool, typer.Option(help="Weigh the choices of closed questions by their likelihood.")
    ] = False,
    bar: Annotated[
        float | None, typer.Option(min=0, max=1, help="Say which closed questions score below this.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Samples answered together.")] = 64,
    max_new_tokens: MaxNewTokens = 256,
    seed: Annotated[int, typer.Option(help="Seed for the bootstrap and the controls.")] = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Evaluate a model. The same command continues an interrupted evaluation."""
    from medmvl.cli.asking import check_paths, listed, progress_bars, raise_failures
    from medmvl.datasets.public import find_task

    if (model is None) == (endpoint is None):
        raise UserError("give exactly one of MODEL and --endpoint URL")
    names = listed(tasks)
    for name in names:
        find_task(name)
    check_paths(model)
    from medmvl.engine import Failure, joined_process_group
    from medmvl.evaluation.endpoint import EndpointOptions
    from medmvl.evaluation.jobs import evaluate as run

    asked = EndpointOptions(
        endpoint or "", endpoint_model, os.environ.get(KEY_VARIABLE), send_data_to_endpoint, volume_as, concurrency,
        timeout, retries,
    )  # fmt: skip
    with joined_process_group() as processes:
        with progress_bars(quiet=not processes.first) as advance:
            found = run(
                model or asked, names or data, data=data, device=device, dtype=dtype, out=out, train=train,
                image_root=image_root, volume_root=volume_root, limit_patients=limit_patients,
                processes=processes, progress=advance,
                max_new_tokens=max_new_tokens, batch_size=batch_size, controls=controls, seed=seed,
                robustness=tuple(listed(robustness)), calibration=calibration, consistency=consistency,
                protocols=tuple(listed(protocol)), bar=bar,
            )  # fmt: skip
        if not processes.first:
            return
        several: dict[str, Results] = found if isinstance(found, dict) else {"": found}
        for name, results in several.items():
            _show(results, out / name, find_task(name).title if name else "Evaluation")
        failures = [Failure(*failure) for results in several.values() for failure in results.failures]
        raise_failures(failures, sum(len(results.judged) for results in several.values()))


def _show(results: Results, out: Path, title: str) -> None:
    """The table, what to keep in mind, and what was written."""
    from rich.console import Console

    from medmvl.evaluation.results import to_table
    from medmvl.evaluation.warnings import TRAINED_ON

    console = Console()
    console.print(to_table(results, title))
    for warning in results.warnings:
        console.print(f"Note: {warning}", style="bold red" if warning.startswith(TRAINED_ON) else "yellow")
    if bar := results.more.get("bar"):
        console.print(f"Bar: {bar['statement']}", style="red" if bar["below"] else "green", highlight=False)
    if statement := results.about.get("statement"):
        console.print(statement, style="italic")
    files = [
        "results.json",
        "answers.jsonl",
        "report.html",
        *(["cases.png"] if (out / "cases.png").exists() else []),
    ]
    console.print(f"{results.about['seconds']} s; {', '.join(files)} in {out}")

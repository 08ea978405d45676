"""`medmvl evaluate`: score a model on unseen samples next to its controls, with intervals over patients."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medmvl.cli.options import Device, Dtype, ImageRoot, MaxNewTokens, Thinking, VolumeRoot
from medmvl.errors import UserError
from medmvl.json_types import JsonObject

if TYPE_CHECKING:
    from medmvl.evaluation.endpoint import EndpointOptions
    from medmvl.evaluation.results import Results


KEY_VARIABLE = "MEDMVL_ENDPOINT_KEY"


Data = Annotated[
    Path, typer.Option(help="Unseen samples, .jsonl or .json; with --tasks the folder of converted data.")
]
Out = Annotated[Path, typer.Option(help="Folder for results.json, answers.jsonl, page.html and cases.png.")]
ModelArgument = Annotated[Path | None, typer.Argument(help="Folder of a saved model; or --endpoint.")]
Endpoint = Annotated[
    str | None,
    typer.Option(help=f"OpenAI-compatible address, .../v1; its key is read from {KEY_VARIABLE}."),
]
EndpointModel = Annotated[str | None, typer.Option(help="The model's name at the endpoint.")]
SendDataToEndpoint = Annotated[
    bool, typer.Option("--send-data-to-endpoint", help="Images and questions may go to another machine.")
]
VolumeAs = Annotated[
    str, typer.Option(help="To an endpoint: volume, slices:N, or auto: what medmvl serve takes.")
]
Concurrency = Annotated[int, typer.Option(min=1, max=32, help="Scans asked about at once.")]
Timeout = Annotated[float, typer.Option(min=0.1, help="Seconds an endpoint has for one answer.")]
Retries = Annotated[int, typer.Option(min=0, help="Retries after 429, 503 or a broken connection.")]
Tasks = Annotated[
    str, typer.Option(help="Names of tasks, such as vqa-rad,slake-en; each gets a folder in --out.")
]
Protocol = Annotated[
    str, typer.Option(help="Score by these published conventions, too, strict and reader next to them.")
]
Train = Annotated[Path | None, typer.Option(help="Training samples, for the majority answer.")]
LimitPatients = Annotated[int | None, typer.Option(min=1, help="Evaluate only the first N patients.")]
Controls = Annotated[
    bool, typer.Option(help="Majority answer, no image, and swapped image (another patient's).")
]
Robustness = Annotated[
    str, typer.Option(help="Answer again with shifted images: noise,resolution,window,slices.")
]
Consistency = Annotated[
    bool, typer.Option(help="Ask again in other words, and compare English with Chinese.")
]
Calibration = Annotated[
    bool,
    typer.Option(help="Score the choices of closed questions by likelihood: calibration."),
]
BarOption = Annotated[
    float | None, typer.Option(min=0, max=1, help="Say which closed questions score below this.")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Samples answered together.")]
SeedOption = Annotated[int, typer.Option(help="Seed for the bootstrap and the controls.")]


def evaluate(
    data: Data,
    out: Out,
    model: ModelArgument = None,
    endpoint: Endpoint = None,
    endpoint_model: EndpointModel = None,
    send_data_to_endpoint: SendDataToEndpoint = False,
    volume_as: VolumeAs = "auto",
    concurrency: Concurrency = 4,
    timeout: Timeout = 120.0,
    retries: Retries = 5,
    tasks: Tasks = "",
    protocol: Protocol = "",
    train: Train = None,
    image_root: ImageRoot = None,
    volume_root: VolumeRoot = None,
    limit_patients: LimitPatients = None,
    controls: Controls = True,
    robustness: Robustness = "",
    consistency: Consistency = False,
    calibration: Calibration = False,
    bar: BarOption = None,
    batch_size: BatchSize = 64,
    max_new_tokens: MaxNewTokens = 256,
    thinking: Thinking = None,
    seed: SeedOption = 0,
    device: Device = "auto",
    dtype: Dtype = "auto",
) -> None:
    """Evaluate a model. The same command continues an interrupted evaluation."""
    from medmvl.cli.asking import check_paths, listed
    from medmvl.datasets.public import find_task

    if (model is None) == (endpoint is None):
        raise UserError("give exactly one of MODEL and --endpoint URL")
    names = listed(tasks)
    for name in names:
        find_task(name)
    check_paths(model)
    server: JsonObject = {"model": endpoint_model, "volume_as": volume_as, "retries": retries}
    server |= {"allow_remote": send_data_to_endpoint, "concurrency": concurrency, "timeout_s": timeout}
    files = {"data": data, "train": train, "image_root": image_root, "volume_root": volume_root}
    measured: JsonObject = {"controls": controls, "calibration": calibration, "bar": bar, "seed": seed}
    measured |= {"consistency": consistency, "robustness": tuple(listed(robustness))}
    measured |= {"protocols": tuple(listed(protocol))}
    limits = {"limit_patients": limit_patients, "batch_size": batch_size, "max_new_tokens": max_new_tokens}
    limits["thinking"] = thinking
    place = {"device": device, "dtype": dtype}
    asked = model if endpoint is None else _endpoint(endpoint, server)
    _evaluate(asked, names or data, out, {**files, **measured, **limits, **place})


def _endpoint(url: str, options: JsonObject) -> EndpointOptions:
    from medmvl.evaluation.endpoint import EndpointOptions

    return EndpointOptions(url, key=os.environ.get(KEY_VARIABLE), **options)


def _evaluate(
    model: Path | EndpointOptions | None, tasks_or_data: list[str] | Path, out: Path, options: JsonObject
) -> None:
    from medmvl.cli.asking import progress_bars
    from medmvl.engine import joined_process_group
    from medmvl.evaluation.jobs import evaluate as run

    with joined_process_group() as processes:
        with progress_bars(quiet=not processes.first) as advance:
            assert model is not None
            found = run(model, tasks_or_data, out=out, processes=processes, progress=advance, **options)
        if processes.first:
            _show_all(found if isinstance(found, dict) else {"": found}, out)


def _show_all(found: dict[str, Results], out: Path) -> None:
    from medmvl.cli.asking import raise_failures
    from medmvl.datasets.public import find_task
    from medmvl.engine import Failure

    for name, results in found.items():
        _show(results, out / name, find_task(name).title if name else "Evaluation")
    failures = [Failure(*failure) for results in found.values() for failure in results.failures]
    raise_failures(failures, sum(len(results.judged) for results in found.values()))


def _show(results: Results, out: Path, title: str) -> None:
    """The table, what to keep in mind, and what was written."""
    from rich.console import Console

    from medmvl.evaluation.results import extra_lines, to_table
    from medmvl.evaluation.warnings import TRAINED_ON

    console = Console()
    console.print(to_table(results, title))
    for line in extra_lines(results):
        console.print(line, highlight=False, markup=False)
    for warning in results.warnings:
        console.print(f"Note: {warning}", style="bold red" if warning.startswith(TRAINED_ON) else "yellow")
    if bar := results.more.get("bar"):
        console.print(f"Bar: {bar['statement']}", style="red" if bar["below"] else "green", highlight=False)
    if statement := results.about.get("statement"):
        console.print(statement, style="italic")
    files = [
        "results.json",
        "answers.jsonl",
        "page.html",
        *(["cases.png"] if (out / "cases.png").exists() else []),
    ]
    console.print(f"{results.about['seconds']} s; {', '.join(files)} in {out}")

"""`medmvl evaluate`: score a model on unseen samples beside its controls, with intervals over patients."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medmvl.errors import UserError

if TYPE_CHECKING:
    from medmvl.evaluation import Results
    from medmvl.schema import Sample


KEY_VARIABLE = "MEDMVL_ENDPOINT_KEY"


@dataclass(frozen=True)
class _Job:
    """One data set or task to be evaluated, and where its results go."""

    samples: list[Sample]
    load: Any
    about: dict[str, Any]
    train: list[Sample] | None
    protocols: tuple[str, ...]
    out: Path
    title: str = "Unseen patients"


def evaluate(
    data: Annotated[
        Path, typer.Option(help="Unseen samples, .jsonl or .json; with --tasks the folder of converted data.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for results.json, answers.jsonl, report.html and cases.png.")
    ],
    model: Annotated[Path | None, typer.Option(help="Folder of a saved model; or --endpoint.")] = None,
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
        str, typer.Option(help="Score by these published conventions, too, strict beside them.")
    ] = "",
    train: Annotated[Path | None, typer.Option(help="Training samples, for the majority answer.")] = None,
    image_root: Annotated[Path | None, typer.Option(help="Where the data's image paths start.")] = None,
    volume_root: Annotated[Path | None, typer.Option(help="Where the data's volume paths start.")] = None,
    limit_patients: Annotated[
        int | None, typer.Option(min=1, help="Take the first so many patients.")
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
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest open answer or report.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the bootstrap and of the controls.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or int8.")] = "auto",
) -> None:
    """Evaluate a model. The same command continues an interrupted evaluation."""
    from medmvl.cli.asking import progress_bars, raise_failures
    from medmvl.engine import Failure, joined_process_group
    from medmvl.evaluation import EvaluationOptions, limit_clusters
    from medmvl.evaluation import evaluate as run
    from medmvl.evaluation.endpoint import Endpoint, EndpointOptions
    from medmvl.evaluation.overview import write_overview
    from medmvl.evaluation.protocols import with_strict
    from medmvl.evaluation.robustness import check_shifts

    options = EvaluationOptions(
        max_new_tokens, batch_size, controls, seed, check_shifts(_names(robustness)), calibration, consistency,
        bar=bar,
    )  # fmt: skip
    asked = with_strict(_names(protocol)) if protocol else ()
    if (model is None) == (endpoint is None):
        raise UserError("give exactly one of --model FOLDER and --endpoint URL")
    asked_endpoint = None if endpoint is None else EndpointOptions(
        endpoint, endpoint_model, os.environ.get(KEY_VARIABLE), send_data_to_endpoint, volume_as, concurrency,
        timeout, retries,
    )  # fmt: skip
    roots: dict[str, Any] = {"image_root": image_root, "volume_root": volume_root}
    jobs = [_task_job(name, data, out / name, roots, asked) for name in _names(tasks)]
    if not jobs:
        jobs = [_data_job(data, train, out, roots, asked)]
    failures: list[Failure] = []
    finished: list[tuple[str, str, Results]] = []
    with joined_process_group() as processes:
        if asked_endpoint is None:
            assert model is not None
            judged, identity = _local(model, processes.device(device), dtype)
        else:
            judged = Endpoint(asked_endpoint)
            identity = judged.about
        for job in jobs:
            samples = limit_clusters(job.samples, limit_patients)
            with progress_bars(quiet=not processes.first) as advance:
                results = run(
                    judged, samples, job.load, job.out, about={**identity, **job.about},
                    train_samples=job.train, options=replace(options, protocols=job.protocols), processes=processes,
                    progress=advance,
                )  # fmt: skip
            if processes.first:
                _show(results, job, samples)
                finished.append((job.out.name, job.title, results))
            failures += [Failure(*failure) for failure in results.failures]
        if processes.first and len(finished) > 1:
            write_overview(out / "index.html", finished)
        if processes.first:
            raise_failures(failures, sum(len(job.samples) for job in jobs))


def _local(model: Path, device: str, dtype: str) -> tuple[Any, dict[str, Any]]:
    from medmvl.engine import Engine, model_digest

    return Engine.load(model, device, dtype), {"model": model_digest(model)}


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


def _data_job(
    data: Path, train: Path | None, out: Path, roots: dict[str, Any], protocols: tuple[str, ...]
) -> _Job:
    from medmvl.data.sources import open_data

    source = open_data(data, **roots)
    about = _about(source.digest, source.name, data)
    known = None if train is None else list(open_data(train).samples)
    return _Job(list(source.samples), source.load, about, known, protocols, out)


def _task_job(name: str, data: Path, out: Path, roots: dict[str, Any], protocols: tuple[str, ...]) -> _Job:
    """A task over its converted data: `data` itself, or the folder in it that is named like the data set."""
    from medmvl.data.sources import open_data
    from medmvl.datasets.public import find_task
    from medmvl.evaluation.protocols import with_strict

    benchmark = find_task(name)
    folder = data / benchmark.data if (data / benchmark.data).is_dir() else data
    task = benchmark.load(folder)
    path = folder / "test.jsonl" if folder.is_dir() else folder
    source = open_data(path, **roots)
    train = folder / "train.jsonl"
    known = benchmark.select(open_data(train).samples) if train.is_file() else None
    about = {**_about(f"{source.digest} {name}", source.name, path), "task": name}
    chosen = protocols or with_strict([task.protocol])
    return _Job(list(task.samples), source.load, about, known or None, chosen, out, benchmark.title)


def _about(digest: str, name: str, data: Path) -> dict[str, Any]:
    statement = statement_of(data)
    return {"data": digest, "data_name": name, **({} if statement is None else {"statement": statement})}


def _show(results: Results, job: _Job, samples: list[Sample]) -> None:
    from medmvl.evaluation.cases import draw_cases
    from medmvl.evaluation.html import write_report

    statement = job.about.get("statement")
    write_report(job.out / "report.html", results, samples, job.load, job.title)
    drawn = draw_cases(job.out / "cases.png", results.judged, samples, job.load, note=statement)
    _report(results, job.out, statement, drawn, job.title)


def statement_of(data: Path) -> str | None:
    """What the data set's `dataset.json` says about itself, such as that phantoms are not medicine."""
    record = data.parent / "dataset.json"
    if not record.is_file():
        return None
    statement = json.loads(record.read_text(encoding="utf-8")).get("statement")
    return str(statement) if statement else None


def _report(results: Results, out: Path, statement: str | None, drawn: bool, title: str) -> None:
    from rich.console import Console

    from medmvl.evaluation import to_table

    console = Console()
    console.print(to_table(results, title))
    for warning in results.warnings:
        console.print(f"Note: {warning}", style="yellow")
    if "bar" in results.more:
        reached = results.more["bar"]
        console.print(
            f"Bar: {reached['statement']}", style="red" if reached["below"] else "green", highlight=False
        )
    if statement is not None:
        console.print(statement, style="italic")
    files = ["results.json", "answers.jsonl", "report.html", *(["cases.png"] if drawn else [])]
    console.print(f"{results.about['seconds']} s; {', '.join(files)} in {out}")

"""`medmvl.evaluate`: a model or an endpoint, evaluated on a data file, on samples or on tasks; pages and results written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast, overload

from medmvl.data.sources import LoadedSource, open_data
from medmvl.datasets.loader import BlockLoader, ImageLoader
from medmvl.datasets.public import find_task
from medmvl.engine.engine import Engine
from medmvl.engine.process_group import SINGLE_PROCESS, ProcessGroup
from medmvl.errors import UserError
from medmvl.evaluation.answering import Answerer, EvaluationOptions, Progress
from medmvl.evaluation.cases import draw_cases
from medmvl.evaluation.clusters import limit_clusters
from medmvl.evaluation.endpoint import Endpoint, EndpointOptions
from medmvl.evaluation.html import write_overview, write_page
from medmvl.evaluation.results import Results
from medmvl.evaluation.robustness import check_shifts
from medmvl.evaluation.run import evaluate_samples
from medmvl.evaluation.scoring import with_ours
from medmvl.json_types import JsonObject
from medmvl.messages import did_you_mean
from medmvl.outputs import continued_folder
from medmvl.schema import Sample
from medmvl.tasks import Benchmark

Roots = tuple[str | Path | None, str | Path | None]
Data = str | Path | LoadedSource | Sequence[Sample]
Model = Answerer | EndpointOptions | str | Path
Tasks = list[str] | tuple[str, ...]


@dataclass(frozen=True)
class Job:
    """One data set or task to be evaluated, and where its results go."""

    samples: Sequence[Sample]
    load: ImageLoader
    about: JsonObject
    """Digest of the data as `data`, and what else `results.json` says about it."""
    out: Path
    train_samples: Sequence[Sample] | None
    protocols: tuple[str, ...]
    title: str = "Evaluation"


@overload
def evaluate(
    model: Model, tasks_or_data: Tasks, *, out: str | Path, **options: Any
) -> dict[str, Results]: ...


@overload
def evaluate(model: Model, tasks_or_data: Data, *, out: str | Path, **options: Any) -> Results: ...


def evaluate(
    model: Model,
    tasks_or_data: Data | Tasks,
    *,
    out: str | Path,
    data: str | Path | None = None,
    train: Data | None = None,
    image_root: str | Path | None = None,
    volume_root: str | Path | None = None,
    limit_patients: int | None = None,
    pages: bool = True,
    device: str = "auto",
    dtype: str = "auto",
    processes: ProcessGroup = SINGLE_PROCESS,
    progress: Progress | None = None,
    **options: Any,
) -> Results | dict[str, Results]:
    """Evaluate a model next to its controls. The same call continues an interrupted evaluation.

    Args:
        model: folder of a saved model, an `Engine`, or an `Endpoint` or its options.
        tasks_or_data: a file of samples (`.jsonl`, `.json`), the samples themselves with paths relative to the working
            folder, a source of a recipe, or a list of task names.
        out: folder for `results.json`, `answers.jsonl`, `page.html` and `cases.png`; one folder per task in it.
        data: the folder of converted data, with tasks.
        train: training samples, for the majority answer; tasks find theirs next to their data.
        image_root: folder that image paths start from; the data file's own otherwise.
        volume_root: the same for volumes.
        limit_patients: evaluate only the first N patients.
        pages: whether to write `page.html` and `cases.png`, too.
        device: where a model folder is loaded; see `Engine.load`.
        dtype: number type that a model folder is loaded in; see `Engine.load`.
        processes: the processes that share the work; all call this alike, and all get the results.
        progress: called with what runs, how many more samples are done, and how many there are.
        **options: fields of `EvaluationOptions`, such as `batch_size=8` or `robustness=("noise",)`.

    Returns:
        The results; with a list of tasks, a dict of them by task.

    Raises:
        SampleError: a sample has no truth, or an id twice.
        UserError: there is no such model, data, task or option; or `out` holds answers of another model or data.
    """
    chosen, folder = evaluation_options(options), Path(out)
    roots = (image_root, volume_root)
    if names := _task_names(tasks_or_data):
        jobs = [_task_job(find_task(name), data, folder / name, roots, chosen.protocols) for name in names]
    else:
        jobs = [_data_job(cast(Data, tasks_or_data), train, folder, roots, chosen.protocols)]
    answerer = _answerer(model, processes.device(device), dtype)
    found: dict[str, Results] = {}
    for job in jobs:
        job = replace(job, samples=limit_clusters(job.samples, limit_patients))
        with continued_folder(
            job.out, "decoded", first=processes.first, holds="evaluation", marks=("decoded",)
        ):
            results = evaluate_samples(
                answerer,
                job.samples,
                job.load,
                job.out,
                about={**answerer.identity, **_named_model(answerer), **job.about},
                train_samples=job.train_samples,
                options=replace(chosen, protocols=job.protocols),
                processes=processes,
                progress=_named(progress, job.out.name) if len(jobs) > 1 else progress,
            )
            if pages and processes.first:
                _write_pages(results, job)
        found[job.out.name] = results
    if pages and processes.first and len(jobs) > 1:
        shown = [(job.out.name, job.title, found[job.out.name]) for job in jobs]
        write_overview(folder / "index.html", shown)
    return found if names else found[folder.name]


def _named_model(answerer: Answerer) -> dict[str, str]:
    """Names the model on the page by the last two parts of its folder, such as `quickstart/model`."""
    folder = getattr(answerer, "folder", None)
    return {} if folder is None else {"model_name": "/".join(Path(folder).resolve().parts[-2:])}


def evaluation_options(given: JsonObject) -> EvaluationOptions:
    """Options from keyword arguments.

    Raises:
        UserError: an option, shift or protocol is unknown.
    """
    known = list(EvaluationOptions.__dataclass_fields__)
    for name in given:
        if name not in known:
            raise UserError(
                f"evaluate: unknown option {name!r}{did_you_mean(name, known) or '.'} Known: {', '.join(known)}"
            )
    options = EvaluationOptions(**given)
    protocols = with_ours(options.protocols) if options.protocols else ()
    return replace(options, robustness=check_shifts(options.robustness), protocols=protocols)


def statement_of(data: Path) -> str | None:
    """What the data set's `dataset.json` says about itself, such as that phantoms are not medicine."""
    record = data.parent / "dataset.json"
    if not record.is_file():
        return None
    statement = json.loads(record.read_text(encoding="utf-8")).get("statement")
    return str(statement) if statement else None


def _answerer(model: Model, device: str, dtype: str) -> Answerer:
    if isinstance(model, EndpointOptions):
        return Endpoint(model)
    return Engine.load(model, device, dtype) if isinstance(model, str | Path) else model


def _task_names(given: Data | Tasks) -> list[str]:
    """The names, where a list of tasks is given."""
    return [name for name in given if isinstance(name, str)] if isinstance(given, list | tuple) else []


def _source(data: Data, roots: Roots = (None, None)) -> LoadedSource:
    """Data in any form, with a digest and what loads its blocks."""
    if isinstance(data, LoadedSource):
        return data
    if isinstance(data, str | Path):
        if not Path(data).exists():
            raise UserError(
                f"{data}: there is no such file. Give a file of samples, or tasks as a list, such as ['vqa-rad']."
            )
        images, volumes = (None if root is None else Path(root) for root in roots)
        return open_data(Path(data), image_root=images, volume_root=volumes)
    if not data:
        raise UserError("evaluate: there are no samples")
    lines = "".join(sample.model_dump_json() for sample in data)
    digest = hashlib.sha256(lines.encode()).hexdigest()
    return LoadedSource(f"{len(data)} samples", list(data), BlockLoader(Path.cwd()), digest)


def _data_job(data: Data, train: Data | None, out: Path, roots: Roots, protocols: tuple[str, ...]) -> Job:
    source = _source(data, roots)
    known = None if train is None else list(_source(train).samples)
    about = _about(source, data if isinstance(data, str | Path) else None)
    return Job(list(source.samples), source.load, about, out, known, protocols)


def _task_job(
    task: Benchmark, data: str | Path | None, out: Path, roots: Roots, protocols: tuple[str, ...]
) -> Job:
    """A task over its converted data: `data` itself, or the folder in it that is named like the data set."""
    if data is None:
        raise UserError(f"task {task.name}: give the folder of converted data as data=FOLDER")
    folder = Path(data) / task.data if (Path(data) / task.data).is_dir() else Path(data)
    samples = task.load(folder)
    path = folder / "test.jsonl" if folder.is_dir() else folder
    source = _source(path, roots)
    train = folder / "train.jsonl"
    known = task.select(open_data(train).samples) if train.is_file() else None
    about = {**_about(source, path), "data": f"{source.digest} {task.name}", "task": task.name}
    chosen = protocols or with_ours([samples.protocol])
    return Job(list(samples.samples), source.load, about, out, known or None, chosen, task.title)


def _about(source: LoadedSource, path: str | Path | None) -> JsonObject:
    about = {"data": source.digest, "data_name": source.name}
    statement = None if path is None else statement_of(Path(path))
    return about if statement is None else {**about, "statement": statement}


def _write_pages(results: Results, job: Job) -> None:
    write_page(job.out / "page.html", results, job.samples, job.load, job.title)
    draw_cases(job.out / "cases.png", results.judged, job.samples, job.load, note=job.about.get("statement"))


def _named(progress: Progress | None, name: str) -> Progress | None:
    """The progress of one task among several."""
    if progress is None:
        return None
    return lambda part, count, total: progress(f"{name}: {part}", count, total)

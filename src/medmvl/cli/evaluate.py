"""`medmvl evaluate`: score a model on unseen samples beside its controls, with intervals over patients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from medmvl.evaluation import Results


def evaluate(
    model: Annotated[Path, typer.Option(help="Folder of a saved model.")],
    data: Annotated[Path, typer.Option(help="Unseen samples, .jsonl or .json, with their answers.")],
    out: Annotated[Path, typer.Option(help="Folder for results.json, answers.jsonl and cases.png.")],
    train: Annotated[Path | None, typer.Option(help="Training samples, for the majority answer.")] = None,
    image_root: Annotated[Path | None, typer.Option(help="Where the data's image paths start.")] = None,
    volume_root: Annotated[Path | None, typer.Option(help="Where the data's volume paths start.")] = None,
    limit_patients: Annotated[
        int | None, typer.Option(min=1, help="Take the first so many patients.")
    ] = None,
    controls: Annotated[
        bool, typer.Option(help="Majority answer, no image, and another patient's image.")
    ] = True,
    robustness: Annotated[
        str, typer.Option(help="Answer again with shifted pictures: noise,resolution,window,slices.")
    ] = "",
    batch_size: Annotated[int, typer.Option(min=1, help="Samples answered together.")] = 64,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest open answer or report.")] = 256,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
) -> None:
    """Evaluate a model. The same command continues an interrupted evaluation."""
    from medmvl.cli.asking import progress_bars, raise_failures
    from medmvl.data.sources import open_data
    from medmvl.engine import Engine, Failure, joined_ranks, model_digest
    from medmvl.evaluation import EvaluationOptions, limit_clusters
    from medmvl.evaluation import evaluate as run
    from medmvl.evaluation.robustness import check_shifts

    shifts = check_shifts([name.strip() for name in robustness.split(",") if name.strip()])
    source = open_data(data, image_root=image_root, volume_root=volume_root)
    samples = limit_clusters(list(source.samples), limit_patients)
    about = {"model": model_digest(model), "data": source.digest, "data_name": source.name}
    statement = statement_of(data)
    if statement is not None:
        about["statement"] = statement
    with joined_ranks() as ranks, progress_bars(quiet=not ranks.first) as advance:
        results = run(
            Engine.load(model, ranks.device(device), dtype),
            samples,
            source.load,
            out,
            about=about,
            train_samples=None if train is None else list(open_data(train).samples),
            options=EvaluationOptions(max_new_tokens, batch_size, controls, seed, shifts),
            ranks=ranks,
            progress=advance,
        )
    if ranks.first:
        from medmvl.evaluation.cases import draw_cases

        drawn = draw_cases(out / "cases.png", results.judged, samples, source.load, note=statement)
        _report(results, out, statement, drawn)
        raise_failures([Failure(*failure) for failure in results.failures], len(samples))


def statement_of(data: Path) -> str | None:
    """What the data set's `dataset.json` says about itself, such as that phantoms are not medicine."""
    record = data.parent / "dataset.json"
    if not record.is_file():
        return None
    statement = json.loads(record.read_text(encoding="utf-8")).get("statement")
    return str(statement) if statement else None


def _report(results: Results, out: Path, statement: str | None, drawn: bool) -> None:
    from rich.console import Console

    from medmvl.evaluation import to_table

    console = Console()
    console.print(to_table(results))
    for warning in results.warnings:
        console.print(f"Note: {warning}", style="yellow")
    if statement is not None:
        console.print(statement, style="italic")
    files = ["results.json", "answers.jsonl", *(["cases.png"] if drawn else [])]
    console.print(f"{results.about['seconds']} s; {', '.join(files)} in {out}")

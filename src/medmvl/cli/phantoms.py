"""`medmvl phantoms`: write a data set of synthetic patients and print what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medmvl.json_types import JsonObject

if TYPE_CHECKING:
    from rich.console import Console

    from medmvl.phantoms.dataset import Format


def phantoms(
    out: Annotated[Path, typer.Argument(help="Folder to write; must not exist or be empty.")],
    patients: Annotated[int, typer.Option(min=1, help="Number of patients.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    preset: Annotated[str, typer.Option(help="quickstart, quickstart_normal, chest or tiny.")] = "quickstart",
    format: Annotated[str, typer.Option(help="npy, nifti or dicom.")] = "npy",
    shape: Annotated[str | None, typer.Option(help="CT voxels D,H,W instead of the preset's.")] = None,
    splits: Annotated[str | None, typer.Option(help="Patients in TRAIN,VALIDATION,TEST.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    preview: Annotated[Path | None, typer.Option(help="Also draw a few patients into this PNG.")] = None,
) -> None:
    """Write synthetic chest patients: CT, X-ray, prior studies, questions, reports, labels and boxes."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from medmvl.phantoms.dataset import SPLITS, write_dataset
    from medmvl.phantoms.preview import write_preview

    depth_height_width = None if shape is None else _three(shape, "--shape")
    counts = None if splits is None else dict(zip(SPLITS, _three(splits, "--splits"), strict=True))
    columns = (
        "[progress.description]{task.description}",
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    is_there = (out / "dataset.json").is_file()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("patients", total=patients, visible=False)
        summary = write_dataset(
            out,
            patients=patients,
            seed=seed,
            preset=preset,
            format=_format(format),
            splits=counts,
            shape=depth_height_width,
            workers=workers,
            progress=lambda count: bar.update(task, completed=count, visible=True),
        )
    if preview is not None:
        write_preview(preview, seed=seed, preset=preset)
    _print_summary(out, summary, Console())
    if is_there:
        typer.echo(f"{out} was complete already; nothing was done")


def _format(text: str) -> Format:
    from medmvl.errors import UserError

    if text in ("npy", "nifti", "dicom"):
        return text  # type: ignore[return-value]
    raise UserError(f"unknown format '{text}'; known formats: npy, nifti, dicom")


def _three(text: str, option: str) -> tuple[int, int, int]:
    from medmvl.errors import UserError

    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise UserError(f"{option} {text}: expected three whole numbers such as 32,64,64")
    first, second, third = (int(part) for part in parts)
    return first, second, third


def _print_summary(out: Path, summary: JsonObject, console: Console) -> None:
    from rich.table import Table

    from medmvl.phantoms.findings import FINDINGS

    sizes = Table("finding", "patients", "size", "min", "median", "max", title="Finding sizes")
    for finding_type, row in summary["finding_sizes"].items():
        name = FINDINGS[finding_type].size_name
        sizes.add_row(
            finding_type, str(row["n"]), name, *(f"{row[key]:g}" for key in ("min", "median", "max"))
        )
    answers = Table("question", "language", "answers", title="Closed questions")
    for question_type, languages in summary["answers"].items():
        for language, row in languages.items():
            answers.add_row(
                question_type, language, ", ".join(f"{answer} {count}" for answer, count in row.items())
            )
    console.print(sizes)
    console.print(answers)
    per_split = ", ".join(f"{split} {count}" for split, count in summary["samples"].items())
    console.print(f"{summary['patients']} patients in {out}; samples: {per_split}")
    console.print(summary["statement"])

"""`medmvl data from-csv`: a table of your own becomes a data set that trains."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medmvl.cli.options import DEFAULT_SPLIT, SplitSeed, SplitShares, one_of
from medmvl.cli.progress import print_splits, progress_bar
from medmvl.json_types import JsonObject

if TYPE_CHECKING:
    from medmvl.datasets.from_csv import CsvResult

KINDS = ("image", "volume")
LANGUAGES = ("en", "zh", "auto")

Table = Annotated[
    Path, typer.Argument(help="CSV or TSV, UTF-8 or GB 18030, or XLSX; one row per examination.")
]
Out = Annotated[Path, typer.Argument(help="New folder for the data set.")]
Images = Annotated[Path, typer.Option(help="Folder that paths in the table start from.")]
ImageColumn = Annotated[str | None, typer.Option(help="Column with paths of 2D images.")]
VolumeColumn = Annotated[str | None, typer.Option(help="Column with 3D files or DICOM folders.")]
QuestionColumn = Annotated[str | None, typer.Option()]
AnswerColumn = Annotated[str | None, typer.Option()]
ReasoningColumn = Annotated[str | None, typer.Option(help="Column with reasoning that leads to the answer.")]
ReportColumn = Annotated[str | None, typer.Option()]
PatientColumn = Annotated[str | None, typer.Option()]
StudyColumn = Annotated[str | None, typer.Option()]
DateColumn = Annotated[str | None, typer.Option()]
DateFormat = Annotated[
    str | None, typer.Option(help="Format of dates that do not begin with the year, such as %d/%m/%Y.")
]
UnitsColumn = Annotated[str | None, typer.Option()]
ModalityColumn = Annotated[str | None, typer.Option()]
PriorColumn = Annotated[str | None, typer.Option(help="Column with paths of earlier studies.")]
PriorDaysColumn = Annotated[
    str | None, typer.Option(help="Column with the days between earlier and current study.")
]
IdColumn = Annotated[str | None, typer.Option(help="Column with an id of each row.")]
SplitColumn = Annotated[str | None, typer.Option(help="Column with train, validation or test.")]
Question = Annotated[str | None, typer.Option(help="Question for rows that have none.")]
Kind = Annotated[str | None, typer.Option(help="image or volume; looked up in the files by default.")]
Language = Annotated[str, typer.Option(help="en, zh or auto.")]
Units = Annotated[str | None, typer.Option(help="Declare units where files do not say, such as HU.")]
Modality = Annotated[str | None, typer.Option(help="Declare the modality, such as CT.")]
KeepIds = Annotated[bool, typer.Option(help="Patient and study columns are pseudonyms already.")]
Key = Annotated[
    Path | None,
    typer.Option(
        help="Key file of the pseudonyms, of an earlier table of the same patients; OUT.key by default."
    ),
]
SkipBad = Annotated[bool, typer.Option(help="Leave out, and list, rows that cannot be used.")]


def from_csv(
    table: Table,
    out: Out,
    images: Images,
    image_column: ImageColumn = None,
    volume_column: VolumeColumn = None,
    question_column: QuestionColumn = None,
    answer_column: AnswerColumn = None,
    reasoning_column: ReasoningColumn = None,
    report_column: ReportColumn = None,
    patient_column: PatientColumn = None,
    study_column: StudyColumn = None,
    date_column: DateColumn = None,
    date_format: DateFormat = None,
    units_column: UnitsColumn = None,
    modality_column: ModalityColumn = None,
    prior_column: PriorColumn = None,
    prior_days_column: PriorDaysColumn = None,
    id_column: IdColumn = None,
    split_column: SplitColumn = None,
    question: Question = None,
    kind: Kind = None,
    language: Language = "auto",
    units: Units = None,
    modality: Modality = None,
    split: SplitShares = DEFAULT_SPLIT,
    seed: SplitSeed = 0,
    keep_ids: KeepIds = False,
    key: Key = None,
    skip_bad: SkipBad = False,
) -> None:
    """Turn a table of your own into a data set that trains; DICOM and NIfTI stay as they are."""
    columns = {
        "image": image_column, "volume": volume_column, "question": question_column, "answer": answer_column,
        "report": report_column, "patient": patient_column, "study": study_column, "date": date_column,
        "units": units_column, "modality": modality_column, "prior": prior_column, "prior_days": prior_days_column,
        "id": id_column, "split": split_column, "reasoning": reasoning_column,
    }  # fmt: skip
    said = {"question": question, "kind": one_of("--kind", kind, KINDS), "units": units, "modality": modality}
    said |= {"language": one_of("--language", language, LANGUAGES), "date_format": date_format}
    _convert(
        table,
        images,
        out,
        split,
        {
            "columns": columns,
            "seed": seed,
            "keep_ids": keep_ids,
            "key": None if key is None else str(key),
            "skip_bad": skip_bad,
            **said,
        },
    )


def _convert(table: Path, images: Path, out: Path, split: str, options: JsonObject) -> None:
    from medmvl.datasets.csv_files import CsvOptions
    from medmvl.datasets.from_csv import from_csv as convert_table
    from medmvl.datasets.from_csv import key_file
    from medmvl.datasets.splits import parse_fractions

    chosen = CsvOptions(fractions=parse_fractions(split), **options)
    with progress_bar() as progress:
        result = convert_table(table, images, out, chosen, lambda done, n: progress("rows", done, n))
    _print_result(out, result)
    if not chosen.keep_ids:
        typer.echo(
            f"The key of the pseudonyms is {key_file(out, chosen)}: keep it, and keep it secret. Another table of the same "
            "patients needs it (--key): with another key nobody is known again, and a test patient may be one of training."
        )


def _print_result(out: Path, result: CsvResult) -> None:
    typer.echo("Columns: " + ", ".join(f"{role} = '{column}'" for role, column in result.columns.items()))
    if result.unused:
        typer.echo("Unused: " + ", ".join(f"'{column}'" for column in result.unused))
    for row in result.bad_rows:
        typer.echo(f"Left out: {row}", err=True)
    for warning in result.warnings:
        typer.echo(f"Warning: {warning}", err=True)
    print_splits(out, result.summary)

"""A hospital's own table to a data set that trains: one row per examination, files as they are, patients pseudonymous."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

from medmvl.datasets.csv_doubts import doubts
from medmvl.datasets.csv_files import CsvOptions, FileBlocks
from medmvl.datasets.csv_rows import CsvRow, language_of, read_rows
from medmvl.datasets.pseudonyms import KEY_FIELD, Pseudonyms
from medmvl.datasets.table import Table, find_columns, read_table
from medmvl.datasets.writing import write_splits
from medmvl.digests import file_sha256
from medmvl.errors import UserError
from medmvl.imaging.modalities import known_modality
from medmvl.imaging.units import known_units
from medmvl.json_types import JsonObject
from medmvl.messages import first_of
from medmvl.outputs import whole_folder
from medmvl.schema import Message, Sample, Target, TextBlock
from medmvl.tasks.answers import yes_no_choices

FOLLOWS = {"prior_days": "prior"}
"""Roles of columns that need another column, by that column's role."""


@dataclass(frozen=True)
class CsvResult:
    """What came of a table."""

    summary: JsonObject
    columns: dict[str, str]
    """Role to column, those given and those guessed."""
    bad_rows: list[str]
    warnings: list[str]
    unused: tuple[str, ...] = ()
    """Columns that nothing was taken from."""


def from_csv(
    table_path: Path,
    images: Path,
    out: Path,
    options: CsvOptions,
    progress: Callable[[int, int], None] | None = None,
) -> CsvResult:
    """Write `out/{train,validation,test}.jsonl` and `dataset.json` from a table.

    Args:
        table_path: CSV or TSV.
        images: folder that paths in the table start from.
        out: a new or empty folder, or one that this very call made, which is then left as it is. The key of the
            pseudonyms is kept next to it, in `<out>.key`, unless the options name one.
        options: see CsvOptions.
        progress: called with the number of rows done, and of how many.

    Raises:
        UserError: where columns are missing, or rows are bad and `skip_bad` is off; the message lists them.
    """
    if options.key is not None and options.keep_ids:
        raise UserError("a key makes pseudonyms, and ids that are kept have none: give --key or --keep-ids")
    if options.units is not None:
        options = replace(options, units=known_units(options.units))
    if options.modality is not None:
        options = replace(options, modality=known_modality(options.modality))
    if not images.is_dir():
        raise UserError(
            f"{images}: there is no such folder; paths in the table start from the folder of --images"
        )
    made: list[CsvResult] = []
    request = {
        "command": "from-csv", "table": file_sha256(table_path), "images": str(images.absolute()),
        "options": asdict(options),
    }  # fmt: skip
    whole_folder(
        out,
        request,
        lambda folder: made.append(_write(table_path, images, out, folder, options, progress)),
        private=True,
    )
    if made:
        return made[0]
    summary = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    return CsvResult(summary, summary["columns"], [], [f"{out} was complete already; nothing was done"])


def _write(
    table_path: Path,
    images: Path,
    out: Path,
    folder: Path,
    options: CsvOptions,
    progress: Callable[[int, int], None] | None,
) -> CsvResult:
    """Fill `folder`, which becomes `out`."""
    table = read_table(table_path)
    columns = find_columns(table.header, options.columns)
    _check_columns(columns, table)
    files = FileBlocks(images, out, options)
    rows, bad = read_rows(table, columns, files, options, progress)
    if bad and not options.skip_bad:
        raise UserError(_list_bad(table_path, bad, len(table.rows)))
    if not rows:
        raise UserError(_list_bad(table_path, bad, len(table.rows)))
    _check_ids(rows, table_path)
    names = None if options.keep_ids else Pseudonyms.from_file(key_file(out, options))
    samples, splits, warnings = _make_samples(rows, names, out.name, options)
    warnings += [*table.warnings, *doubts(table, columns, rows, samples, named=not options.keep_ids)]
    unused = tuple(name for name in table.header if name not in columns.values())
    about = {
        "source": "medmvl data from-csv",
        "columns": columns,
        "unused": list(unused),
        "encoding": table.encoding,
        "rows": len(table.rows),
        "bad_rows": len(bad),
        "pseudonymous": not options.keep_ids,
        **({} if names is None else {KEY_FIELD: names.key_name}),
    }
    given = splits if "split" in columns else None
    summary = write_splits(folder, samples, options.fractions, options.seed, about, given)
    return CsvResult(summary, columns, bad, [*warnings, *files.warnings()], unused)


def key_file(out: Path, options: CsvOptions) -> Path:
    """Where the key of the pseudonyms is."""
    return out.with_name(f"{out.name}.key") if options.key is None else Path(options.key)


def _check_ids(rows: Sequence[CsvRow], path: Path) -> None:
    """Raise UserError where two rows have one id."""
    first: dict[str, int] = {}
    for row in rows:
        if row.id is not None and first.setdefault(row.id, row.line) != row.line:
            raise UserError(
                f"{path}: lines {first[row.id]} and {row.line} have the same id; give every row one of its own"
            )


def _check_columns(columns: Mapping[str, str], table: Table) -> None:
    listing = f"the table has: {', '.join(table.header)}"
    if not any(role in columns for role in ("path", "image", "volume")):
        raise UserError(
            f"no column names the files; say which with --image-column or --volume-column; {listing}"
        )
    if missing := [
        f"'{columns[role]}' ({role}) without one for {of}"
        for role, of in FOLLOWS.items()
        if role in columns and of not in columns
    ]:
        raise UserError(f"column {missing[0]}; name it with --{FOLLOWS['prior_days']}-column; {listing}")
    if "answer" not in columns and "report" not in columns:
        raise UserError(
            f"no column has answers; say which with --answer-column or --report-column; {listing}"
        )


def _list_bad(path: Path, bad: list[str], total: int) -> str:
    shown = first_of(bad, separator="\n  ")
    return f"{path}: {len(bad)} of {total} rows cannot be used (--skip-bad leaves them out):\n  {shown}"


def _make_samples(
    rows: list[CsvRow], names: Pseudonyms | None, prefix: str, options: CsvOptions
) -> tuple[list[Sample], list[str | None], list[str]]:
    """The samples, the split that the table gives each, and warnings."""
    latest: dict[str, date] = {}
    for row in rows:
        if row.patient is not None and row.date is not None:
            latest[row.patient] = max(row.date, latest.get(row.patient, row.date))
    made = [(one, row.split) for row in rows for one in _samples_of(row, names, latest, prefix, options)]
    samples, splits = [one for one, _ in made], [split for _, split in made]
    missing = sum(row.patient is None for row in rows)
    warnings = []
    if missing:
        warnings.append(
            f"{missing} of {len(rows)} rows name no patient: each of their files counts as a patient of its own, and two "
            "examinations of one person may fall into different splits"
        )
    return samples, splits, warnings


def _id_of(row: CsvRow, question_type: str, prefix: str, names: Pseudonyms | None) -> str:
    """The table's own id as a pseudonym, as it may name a patient; or the number of the line."""
    if row.id is None:
        return f"{prefix}-{row.line:07d}-{question_type}"
    return f"{row.id if names is None else names.of('id', row.id)}-{question_type}"


def _samples_of(
    row: CsvRow, names: Pseudonyms | None, latest: Mapping[str, date], prefix: str, options: CsvOptions
) -> list[Sample]:
    patient, study = row.patient, row.study
    if names is not None:
        study = None if row.study is None else names.of("study", row.patient or "", row.study)
        patient = None if row.patient is None else names.of("patient", row.patient)
    days = (latest[row.patient] - row.date).days if row.patient is not None and row.date is not None else None
    samples = []
    for question_type, question, answer, reasoning in row.turns:
        samples.append(
            Sample(
                id=_id_of(row, question_type, prefix, names),
                messages=(
                    Message(role="user", content=(*row.blocks, TextBlock(text=question))),
                    Message(role="assistant", content=(TextBlock(text=answer),), reasoning=reasoning),
                ),
                patient=patient,
                study=study,
                days_before_current=days,
                task=prefix,
                language=language_of(question + answer, options.language),
                target=Target(
                    question_type=question_type,
                    answers=(answer,),
                    choices=yes_no_choices(answer, question) if question_type == "closed" else (),
                ),
            )
        )
    return samples

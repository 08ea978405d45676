"""A hospital's own table to a data set that trains: one row per examination, files as they are, patients pseudonymous."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from medmvl.datasets.pseudonyms import Pseudonyms
from medmvl.datasets.table import Table, find_columns, read_table
from medmvl.datasets.writing import path_from, write_splits
from medmvl.digests import file_sha256
from medmvl.errors import ReadError, UserError
from medmvl.imaging import MedicalImage, read
from medmvl.imaging.selector import split_selector
from medmvl.imaging.units import CT_MODALITIES, hounsfield_doubts, known_units
from medmvl.messages import first_of
from medmvl.outputs import whole_folder
from medmvl.schema import ImageBlock, Message, Sample, Target, TextBlock, VolumeBlock
from medmvl.tasks.answers import yes_no_choices

FOLLOWS = {"prior_days": "prior"}
"""Role of a column that says something only next to another one."""
SPLITS = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
          "dev": "validation", "test": "test", "testing": "test"}  # fmt: skip
"""What a column of splits may say."""
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
"""Ends of names that are looked into although the user says that they are volumes."""
DATE_FORMATS = ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日")
REPORT_PROMPTS = {"en": "Write the report.", "zh": "请写出影像报告。"}
Language = Literal["en", "zh", "auto"]


@dataclass(frozen=True, kw_only=True)
class CsvOptions:
    """What a table cannot say itself."""

    columns: Mapping[str, str | None] = field(default_factory=dict)
    """Role to column, for what the names do not tell; see `table.COLUMN_NAMES`."""
    question: str | None = None
    """Asked about every row without a question of its own; a report has one by default."""
    kind: Literal["image", "volume"] | None = None
    """Kind of the files of the path column, 2D images or 3D volumes; None looks into every file."""
    language: Language = "auto"
    """`auto`: Chinese where the text has Chinese characters."""
    units: str | None = None
    modality: str | None = None
    """Declared for files that do not say; DICOM says both. The columns `units` and `modality` say it for a row."""
    fractions: Mapping[str, float] = field(
        default_factory=lambda: {"train": 0.8, "validation": 0.1, "test": 0.1}
    )
    seed: int = 0
    keep_ids: bool = False
    """Keep the patient and study columns as they are: only where they are pseudonyms already."""
    skip_bad: bool = False
    date_format: str | None = None
    """How the date column is written, as of `datetime.strptime`, such as `%d/%m/%Y`; None: year, month, day in this order."""


@dataclass(frozen=True)
class CsvResult:
    """What came of a table."""

    summary: dict[str, Any]
    columns: dict[str, str]
    """Role to column, those given and those guessed."""
    bad_rows: list[str]
    warnings: list[str]
    unused: tuple[str, ...] = ()
    """Columns that nothing was taken from."""


@dataclass(frozen=True)
class _Row:
    """One row, taken apart."""

    line: int
    blocks: tuple[ImageBlock | VolumeBlock, ...]
    turns: tuple[tuple[str, str, str], ...]
    """Type of question, question, answer."""
    patient: str | None
    study: str | None
    date: date | None
    id: str | None = None
    split: str | None = None


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
            pseudonyms is kept next to it, in `<out>.key`.
        options: see CsvOptions.
        progress: called with the number of rows done, and of how many.

    Raises:
        UserError: where columns are missing, or rows are bad and `skip_bad` is off; the message lists them.
    """
    if options.units is not None:
        options = replace(options, units=known_units(options.units))
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
    files = _FileBlocks(images, out, options)
    rows, bad = _read_rows(table, columns, files, options, progress)
    if bad and not options.skip_bad:
        raise UserError(_list_bad(table_path, bad, len(table.rows)))
    if not rows:
        raise UserError(_list_bad(table_path, bad, len(table.rows)))
    _check_ids(rows, table_path)
    samples, splits, warnings = _make_samples(rows, out, options)
    warnings += _duplicates(samples)
    unused = tuple(name for name in table.header if name not in columns.values())
    about = {
        "source": "medmvl data from-csv",
        "columns": columns,
        "unused": list(unused),
        "encoding": table.encoding,
        "rows": len(table.rows),
        "bad_rows": len(bad),
        "pseudonymous": not options.keep_ids,
    }
    given = splits if "split" in columns else None
    summary = write_splits(folder, samples, options.fractions, options.seed, about, given)
    return CsvResult(summary, columns, bad, [*warnings, *files.warnings()], unused)


def _check_ids(rows: Sequence[_Row], path: Path) -> None:
    """Raise UserError where two rows have one id."""
    first: dict[str, int] = {}
    for row in rows:
        if row.id is not None and first.setdefault(row.id, row.line) != row.line:
            raise UserError(
                f"{path}: lines {first[row.id]} and {row.line} have the same id; give every row one of its own"
            )


def _duplicates(samples: Sequence[Sample]) -> list[str]:
    """Say how many samples repeat another one: same files, same words, same patient."""
    counts = Counter((sample.patient, sample.messages) for sample in samples)
    repeated = len(samples) - len(counts)
    if not repeated:
        return []
    return [
        f"{repeated} of {len(samples)} samples repeat another one word for word: each of them counts twice in training"
    ]


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


@dataclass(frozen=True)
class _Facts:
    """What a file is, and what must be declared about it."""

    kind: str
    declared: dict[str, Any]


class _FileBlocks:
    """Makes blocks of paths, looking into each file once."""

    def __init__(self, images: Path, out: Path, options: CsvOptions) -> None:
        self.images = images
        self.out = out
        self.options = options
        self._seen: dict[tuple[str, str | None, str | None], _Facts] = {}
        self._noticed: Counter[str] = Counter()

    def warnings(self) -> list[str]:
        """What was noticed about units, with the number of files."""
        return [f"{count} files: {what}" for what, count in sorted(self._noticed.items())]

    def make(
        self, text: str, kind: str | None, units: str | None, modality: str | None, role: str
    ) -> list[ImageBlock | VolumeBlock]:
        """Turn a cell, several paths separated by `;`, into blocks; `units` and `modality` are those of the row.

        Raises:
            ReadError: where a file is missing, cannot be read, or is said to be in units that it cannot have.
        """
        blocks: list[ImageBlock | VolumeBlock] = []
        for part in filter(None, map(str.strip, text.split(";"))):
            reference = str(self.images / part)
            path, selector = split_selector(reference)
            if not path.exists():
                raise ReadError(f"{part}: there is no such file or folder below {self.images}")
            facts = self._look(reference, kind, units, modality)
            if role == "volume" and facts.kind == "image":
                self._noticed[
                    "pictures in the column of volumes: they become 2D images. A CT saved as a picture has lost its "
                    "Hounsfield units and its other slices; use the DICOM or NIfTI it came from"
                ] += 1
            name = path_from(self.out, path) + str(selector)
            if facts.kind == "image":
                blocks.append(ImageBlock(image=name, **facts.declared))
            else:
                blocks.append(VolumeBlock(volume=name, **facts.declared))
        return blocks

    def _look(self, reference: str, kind: str | None, units: str | None, modality: str | None) -> _Facts:
        """Read the file where its kind is not told or something is declared, which holds only where it is silent."""
        said = None if units is None else known_units(units)
        wanted = {"units": said or self.options.units, "modality": modality or self.options.modality}
        doubtful = kind == "volume" and reference.lower().endswith(PICTURES)
        if kind is not None and not any(wanted.values()) and not doubtful:
            return _Facts(kind, {})
        key = (reference, said, modality)
        if key not in self._seen:
            image = read(reference, units=said)
            if modality is not None and image.modality not in (None, modality):
                raise ReadError(
                    f"{reference}: said to be {modality}, but the file says modality {image.modality}"
                )
            if image.units == "display" and "CT" in (modality, self.options.modality):
                self._noticed["a CT saved as a picture: its Hounsfield units are lost"] += 1
            if kind not in (None, image.kind):
                raise ReadError(f"{reference}: expected one {kind}, but the file holds one {image.kind}")
            silent = {
                "units": said is not None or self._takes_units(image),
                "modality": image.modality is None,
            }
            declared = {name: value for name, value in wanted.items() if value is not None and silent[name]}
            self._seen[key] = _Facts(image.kind, declared)
        return self._seen[key]

    def _takes_units(self, image: MedicalImage) -> bool:
        """Whether the units declared for all files hold for this one, which must not say otherwise or be no CT."""
        if self.options.units == "HU" and image.units == "display":
            self._noticed[
                "not declared as HU, as they are pictures of 8 bits: a CT saved so has lost its values"
            ] += 1
        if self.options.units is None or image.units != "arbitrary":
            return False
        if self.options.units == "HU" and image.modality not in (None, *CT_MODALITIES):
            self._noticed[f"not declared as HU, as they say modality {image.modality}"] += 1
            return False
        if self.options.units == "HU" and hounsfield_doubts(image.array, image.kind):
            self._noticed[
                "declared as HU, but their values hardly are: see `medmvl inspect FILE --units HU`"
            ] += 1
        return True


def _read_rows(
    table: Table,
    columns: Mapping[str, str],
    files: _FileBlocks,
    options: CsvOptions,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[_Row], list[str]]:
    rows, bad = [], []
    for done, (line, values) in enumerate(table.rows, 1):
        cells = {role: values.get(column, "") for role, column in columns.items()}
        try:
            rows.append(_read_row(line, cells, files, options))
        except UserError as error:
            bad.append(f"line {line}: {error}")
        if progress is not None:
            progress(done, len(table.rows))
    return rows, bad


def _read_row(line: int, cells: Mapping[str, str], files: _FileBlocks, options: CsvOptions) -> _Row:
    blocks = [
        block
        for role in ("path", "image", "volume")
        for block in files.make(
            cells.get(role, ""), _told_kind(role, options), cells.get("units") or None, _modality(cells), role
        )
    ]
    if not blocks:
        raise UserError("no file is named")
    blocks += _priors(cells, files, blocks[-1].type)
    split = cells.get("split", "").lower()
    if "split" in cells and split not in SPLITS:
        raise UserError(f"split {cells['split']!r}: expected {', '.join(SPLITS)}")
    return _Row(
        line=line,
        blocks=tuple(blocks),
        turns=_turns(cells, options),
        patient=cells.get("patient") or None,
        study=cells.get("study") or None,
        date=_parse_date(cells["date"], options.date_format) if cells.get("date") else None,
        id=cells.get("id") or None,
        split=SPLITS[split] if split else None,
    )


def _modality(cells: Mapping[str, str]) -> str | None:
    return cells.get("modality", "").upper() or None


def _priors(cells: Mapping[str, str], files: _FileBlocks, kind: str) -> list[ImageBlock | VolumeBlock]:
    """Blocks of the earlier study, which say by how many days it is older."""
    paths, days = cells.get("prior", ""), cells.get("prior_days", "")
    if not paths:
        return []
    if not days.isdigit() or int(days) == 0:
        found = f"{days!r}" if days else "nothing"
        raise UserError(
            f"an earlier study without its days: expected a number above 0 in the column of days, found {found}"
        )
    made = files.make(paths, kind, cells.get("units") or None, _modality(cells), "prior")
    return [block.model_copy(update={"days_before_current": int(days)}) for block in made]


def _told_kind(role: str, options: CsvOptions) -> str | None:
    """Only what a user said counts: a column that happens to be called 'image' may hold CT."""
    return options.kind or (role if role != "path" and options.columns.get(role) is not None else None)


def _turns(cells: Mapping[str, str], options: CsvOptions) -> tuple[tuple[str, str, str], ...]:
    turns = []
    answer, report = cells.get("answer", ""), cells.get("report", "")
    question = cells.get("question") or options.question
    if answer:
        if not question:
            raise UserError("an answer without a question; give --question for rows without one")
        turns.append(("closed" if yes_no_choices(answer, question) else "open", question, answer))
    if report:
        asked = options.question or REPORT_PROMPTS[_language(report, options.language)]
        turns.append(("report", asked, report))
    if not turns:
        raise UserError("neither an answer nor a report")
    return tuple(turns)


def _choices(question_type: str, answer: str, question: str) -> tuple[str, ...]:
    return yes_no_choices(answer, question) if question_type == "closed" else ()


def _language(text: str, wanted: Language) -> Literal["en", "zh"]:
    if wanted != "auto":
        return wanted
    return "zh" if any("\u4e00" <= character <= "\u9fff" for character in text) else "en"


def _parse_date(text: str, date_format: str | None) -> date:
    day = text if date_format and " " in date_format else text.replace("T", " ").split(" ")[0]
    for pattern in (date_format, *DATE_FORMATS[:1]) if date_format else DATE_FORMATS:
        try:
            return datetime.strptime(day, pattern).date()
        except ValueError:
            continue
    raise UserError(
        f"a date that is not understood ({len(text)} characters); expected "
        + (date_format or "YYYY-MM-DD or YYYYMMDD; --date-format says another way, such as %d/%m/%Y")
    )


def _make_samples(
    rows: list[_Row], out: Path, options: CsvOptions
) -> tuple[list[Sample], list[str | None], list[str]]:
    """The samples, the split that the table gives each, and what is to be told."""
    names = None if options.keep_ids else Pseudonyms.from_file(out.with_name(f"{out.name}.key"))
    latest: dict[str, date] = {}
    for row in rows:
        if row.patient is not None and row.date is not None:
            latest[row.patient] = max(row.date, latest.get(row.patient, row.date))
    made = [(one, row.split) for row in rows for one in _samples_of(row, names, latest, out.name, options)]
    samples, splits = [one for one, _ in made], [split for _, split in made]
    missing = sum(row.patient is None for row in rows)
    warnings = []
    if missing:
        warnings.append(
            f"{missing} of {len(rows)} rows name no patient: each of their files counts as a patient of its own, and two "
            "examinations of one person may fall into different splits"
        )
    return samples, splits, warnings


def _id_of(row: _Row, question_type: str, prefix: str, names: Pseudonyms | None) -> str:
    """The table's own id as a pseudonym, as it may name a patient; or the number of the line."""
    if row.id is None:
        return f"{prefix}-{row.line:07d}-{question_type}"
    return f"{row.id if names is None else names.of('id', row.id)}-{question_type}"


def _samples_of(
    row: _Row, names: Pseudonyms | None, latest: Mapping[str, date], prefix: str, options: CsvOptions
) -> list[Sample]:
    patient, study = row.patient, row.study
    if names is not None:
        study = None if row.study is None else names.of("study", row.patient or "", row.study)
        patient = None if row.patient is None else names.of("patient", row.patient)
    days = (latest[row.patient] - row.date).days if row.patient is not None and row.date is not None else None
    samples = []
    for question_type, question, answer in row.turns:
        samples.append(
            Sample(
                id=_id_of(row, question_type, prefix, names),
                messages=(
                    Message(role="user", content=(*row.blocks, TextBlock(text=question))),
                    Message(role="assistant", content=(TextBlock(text=answer),)),
                ),
                patient=patient,
                study=study,
                days_before_current=days,
                task=prefix,
                language=_language(question + answer, options.language),
                target=Target(
                    question_type=question_type,
                    answers=(answer,),
                    choices=_choices(question_type, answer, question),
                ),
            )
        )
    return samples

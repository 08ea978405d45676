"""The rows of a table: files, questions and answers, patient and date."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from medmvl.datasets.csv_files import CsvOptions, FileBlocks, Language
from medmvl.datasets.table import Table
from medmvl.errors import UserError
from medmvl.schema import VisualBlock
from medmvl.schema.reasoning import holds_marks
from medmvl.tasks.answers import yes_no_choices

SPLITS = {"train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
          "dev": "validation", "test": "test", "testing": "test"}  # fmt: skip
"""What a column of splits may say."""
DATE_FORMATS = ("%Y-%m-%d", "%Y%m%d", "%Y/%m/%d", "%Y.%m.%d", "%Y年%m月%d日")
MISSING = re.compile(
    r"\s*(?:n/?a|nan|null|#n/a|nat|<na>|none|nil|unknown|unbekannt|k\.\s?a\.|anonym(?:ous|i[sz]ed|isiert)?|未知|不详|匿名|-+|\?+)\s*",
    re.IGNORECASE,
)
"""Words that stand for no patient, study or id: rows that share one share nothing."""
_ROUNDED = re.compile(r"\d[.,]\d+e\+\d+", re.IGNORECASE)
"""A number as spreadsheets write those of more than eleven digits: the others are lost."""
_TOUCHING = re.compile(r"%[a-zA-Z]%[a-zA-Z]")
"""Directives of a date with nothing between them."""
REPORT_PROMPTS = {"en": "Write the report.", "zh": "请写出影像报告。"}


@dataclass(frozen=True)
class CsvRow:
    """One row, taken apart."""

    line: int
    blocks: tuple[VisualBlock, ...]
    turns: tuple[tuple[str, str, str, str | None], ...]
    """Type of question, question, answer, reasoning before it."""
    patient: str | None
    study: str | None
    date: date | None
    id: str | None = None
    split: str | None = None


def read_rows(
    table: Table,
    columns: Mapping[str, str],
    files: FileBlocks,
    options: CsvOptions,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[CsvRow], list[str]]:
    """All rows that can be used, and what is wrong with the others."""
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


def _read_row(line: int, cells: Mapping[str, str], files: FileBlocks, options: CsvOptions) -> CsvRow:
    blocks = [
        block
        for role in ("path", "image", "volume")
        for block in files.make(
            cells.get(role, ""),
            _given_kind(role, options),
            cells.get("units") or None,
            _modality(cells),
            role,
        )
    ]
    if not blocks:
        raise UserError("no file is named")
    blocks += _priors(cells, files, blocks[-1].type)
    if len({block.path for block in blocks}) < len(blocks):
        raise UserError(
            "the same file is named twice, so that the model would be shown it twice; name it once, or a column with "
            "--image-column or --volume-column"
        )
    split = cells.get("split", "").lower()
    if "split" in cells and split not in SPLITS:
        raise UserError(f"split {cells['split']!r}: expected {', '.join(SPLITS)}")
    return CsvRow(
        line=line,
        blocks=tuple(blocks),
        turns=_turns(cells, options),
        patient=_identity(cells, "patient"),
        study=_identity(cells, "study"),
        date=_parse_date(cells["date"], options.date_format) if cells.get("date") else None,
        id=_identity(cells, "id"),
        split=SPLITS[split] if split else None,
    )


def _identity(cells: Mapping[str, str], role: str) -> str | None:
    """What a cell names, in one form of Unicode, which writes `ü` and the digits of a Chinese keyboard in several ways.

    None where the cell is empty or holds a word for a missing value.

    Raises:
        UserError: it is a number that a spreadsheet has rounded, so that different patients look alike.
    """
    name = " ".join(unicodedata.normalize("NFKC", cells.get(role, "")).split())
    if _ROUNDED.fullmatch(name):
        raise UserError(
            f"the {role} is a number as 1.23E+12, whose last digits the spreadsheet has dropped; format the column as text "
            "and export again"
        )
    return None if not name or MISSING.fullmatch(name) else name


def _modality(cells: Mapping[str, str]) -> str | None:
    return cells.get("modality", "").upper() or None


def _priors(cells: Mapping[str, str], files: FileBlocks, kind: str) -> list[VisualBlock]:
    """Blocks of the earlier study, which say by how many days it is older."""
    paths, days = cells.get("prior", ""), cells.get("prior_days", "")
    if not paths:
        return []
    days = days.removesuffix(".0")  # as programs write a column in which some rows have none
    if not days.isdecimal() or int(days) == 0:
        found = f"{days!r}" if days else "nothing"
        raise UserError(
            f"an earlier study without its days: expected a number above 0 in the column of days, found {found}"
        )
    made = files.make(paths, kind, cells.get("units") or None, _modality(cells), "prior")
    return [block.model_copy(update={"days_before_current": int(days)}) for block in made]


def _given_kind(role: str, options: CsvOptions) -> str | None:
    """The kind that the user gave; the name of a column does not decide, as one called 'image' may hold CT."""
    return options.kind or (role if role != "path" and options.columns.get(role) is not None else None)


def _turns(cells: Mapping[str, str], options: CsvOptions) -> tuple[tuple[str, str, str, str | None], ...]:
    turns = []
    answer, report = cells.get("answer", ""), cells.get("report", "")
    reasoning = cells.get("reasoning") or None
    if reasoning and answer and report:
        raise UserError(
            "reasoning next to an answer and a report: it is not clear which of them it belongs to"
        )
    if reasoning and holds_marks(reasoning):
        raise UserError("the reasoning holds a mark such as <think>; give the text between the marks")
    question = cells.get("question") or options.question
    if answer:
        if not question:
            raise UserError("an answer without a question; give --question for rows without one")
        question_type = "closed" if yes_no_choices(answer, question) else "open"
        turns.append((question_type, question, answer, reasoning))
    if report:
        asked = options.question or REPORT_PROMPTS[language_of(report, options.language)]
        turns.append(("report", asked, report, reasoning))
    if not turns:
        raise UserError("neither an answer nor a report")
    return tuple(turns)


def language_of(text: str, wanted: Language) -> Literal["en", "zh"]:
    """The language that was asked for; with `auto`, Chinese where the text has Chinese characters."""
    if wanted != "auto":
        return wanted
    return "zh" if any("\u4e00" <= character <= "\u9fff" for character in text) else "en"


def _parse_date(text: str, date_format: str | None) -> date:
    day = text if date_format and " " in date_format else text.replace("T", " ").split(" ")[0]
    for pattern in (date_format, *DATE_FORMATS[:1]) if date_format else DATE_FORMATS:
        try:
            found = datetime.strptime(day, pattern)
        except ValueError:
            continue
        if not _TOUCHING.search(pattern) or len(found.strftime(pattern)) == len(day):
            return found.date()
    # without signs between its parts, a date that has lost a zero (2024113) may be two dates
    raise UserError(
        f"a date that is not understood ({len(text)} characters); expected "
        + (date_format or "YYYY-MM-DD or YYYYMMDD; --date-format says another way, such as %d/%m/%Y")
    )

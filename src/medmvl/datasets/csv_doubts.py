"""What a table says that can hardly be meant: warnings about patients, studies, files, dates and answers that no rule settles.

None of them shows a value that could name a patient: they count, or name lines.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import date
from itertools import chain

from medmvl.datasets.csv_rows import MISSING, CsvRow
from medmvl.datasets.table import Table
from medmvl.messages import first_of
from medmvl.schema import Sample

_CODES = frozenset(("1", "0", "-1", "1.0", "0.0", "-1.0"))
"""How tables of labels write present, absent and uncertain."""
_OTHER_YES_NO = frozenset(
    ("ja", "nein", "oui", "non", "sí", "si", "sim", "não", "да", "нет", "はい", "いいえ")
)
"""Yes and no in languages that answers are not judged in."""
_COUNTED = re.compile(r"\bhow (?:many|much|large|often)\b|\bnumber of\b|几|多少|数量", re.IGNORECASE)
SHORTEST_ID = 4
"""Ids of fewer characters are in too many texts by chance."""
EARLIEST = date(1970, 1, 1)
"""Dates before are what programs write where they know none."""


def doubts(
    table: Table,
    columns: Mapping[str, str],
    rows: Sequence[CsvRow],
    samples: Sequence[Sample],
    *,
    named: bool,
) -> list[str]:
    """All warnings about a table's content.

    Args:
        table: the cells as they are.
        columns: role to column.
        rows: those that can be used.
        samples: what they became.
        named: whether patients, studies and ids are still names, and no pseudonyms.
    """
    found = [
        _repeated(samples), _contradicting(samples), _missing_marks(rows), _codes(rows), _other_yes_no(rows),
        _mixed(rows), _nobody(table, columns), _spelled_twice(rows), _patients_of(rows, "study"),
        _patients_of(rows, "file"), _studies_in_parts(rows), _naming(rows) if named else None, _dates(rows), _undated(rows),
    ]  # fmt: skip
    return [warning for warning in found if warning is not None]


def _repeated(samples: Sequence[Sample]) -> str | None:
    """Samples that repeat another one: same files, same words, same patient."""
    repeated = len(samples) - len(Counter((sample.patient, sample.messages) for sample in samples))
    if not repeated:
        return None
    return f"{repeated} of {len(samples)} samples repeat another one word for word: each of them counts twice in training"


def _contradicting(samples: Sequence[Sample]) -> str | None:
    """Samples that ask the same of the same files and are answered otherwise."""
    answers: dict[Hashable, set[str]] = defaultdict(set)
    for sample in samples:
        answers[sample.patient, sample.messages[:-1]].add(sample.messages[-1].text)
    several = sum(len(said) > 1 for said in answers.values())
    if not several:
        return None
    return (
        f"{several} questions about the same files have several answers that differ: one of them may be wrong"
    )


def _missing_marks(rows: Sequence[CsvRow]) -> str | None:
    """Answers and reports that are what programs and people write where there is none."""
    marks = _lines(rows, lambda row: any(_is_mark(answer) for _, _, answer, _ in row.turns))
    return marks and f"{marks}: an answer like 'NA' is often a missing value; it is learned as a word"


def _is_mark(answer: str) -> bool:
    return answer.strip().lower() not in ("none", "nil") and MISSING.fullmatch(answer) is not None


def _codes(rows: Sequence[CsvRow]) -> str | None:
    """Questions whose every answer is a code of labels."""
    answers: dict[str, set[str]] = defaultdict(set)
    for kind, question, answer, _ in chain.from_iterable(row.turns for row in rows):
        if kind == "open" and not _COUNTED.search(question):
            answers[question].add(answer)
    coded = {question for question, said in answers.items() if said <= _CODES}
    lines = _lines(rows, lambda row: any(question in coded for _, question, _, _ in row.turns))
    return lines and (
        f"{lines}: answers 1, 0 or -1 are learned as these numbers and not judged as yes and no; where they are labels, write "
        "yes and no, and leave out what is uncertain"
    )


def _other_yes_no(rows: Sequence[CsvRow]) -> str | None:
    lines = _lines(
        rows,
        lambda row: any(answer.strip(" .!").lower() in _OTHER_YES_NO for _, _, answer, _ in row.turns),
    )
    return lines and (
        f"{lines}: yes and no are known in English and Chinese; in another language they are answers to open questions, judged "
        "by their words"
    )


def _mixed(rows: Sequence[CsvRow]) -> str | None:
    """Questions that are answered with yes or no in some rows and otherwise in others."""
    kinds: dict[str, set[str]] = defaultdict(set)
    for kind, question, _, _ in chain.from_iterable(row.turns for row in rows):
        kinds[question].add(kind)
    mixed = {question for question, found in kinds.items() if found == {"closed", "open"}}
    lines = _lines(
        rows, lambda row: any(kind == "open" and question in mixed for kind, question, _, _ in row.turns)
    )
    return lines and (
        f"{lines}: other rows answer the same question with yes or no, so these (such as 'uncertain') are open questions and "
        "judged apart"
    )


def _nobody(table: Table, columns: Mapping[str, str]) -> str | None:
    """Rows whose patient is a word for a missing value."""
    column = columns.get("patient")
    marked = [str(line) for line, cells in table.rows if column and MISSING.fullmatch(cells.get(column, ""))]
    if not marked:
        return None
    return (
        f"line {first_of(marked, 5, separator=', ')}: the patient is a word such as 'NA' or 'unknown'; these rows name no "
        "patient, and are not taken for one person"
    )


def _spelled_twice(rows: Sequence[CsvRow]) -> str | None:
    """Patients that differ by no more than what programs change in passing."""
    spellings: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        if row.patient is not None:
            spellings[_plain(row.patient)].add(row.patient)
    several = {plain for plain, found in spellings.items() if len(found) > 1}
    if not several:
        return None
    lines = _lines(rows, lambda row: row.patient is not None and _plain(row.patient) in several)
    return (
        f"{len(several)} patients are written in several ways (leading zeros, '.0', blanks or capitals; {lines}) and count as "
        "different ones, who may fall into different splits: write each alike"
    )


def _plain(patient: str) -> str:
    """A patient without what spreadsheets add and drop."""
    return "".join(patient.casefold().split()).removesuffix(".0").lstrip("0")


def _patients_of(rows: Sequence[CsvRow], what: str) -> str | None:
    """Studies or files that rows of several patients name."""
    patients: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for name in _named(row, what):
            patients[name].add(row.patient or "")
    shared = {name for name, found in patients.items() if len(found - {""}) > 1}
    lines = _lines(rows, lambda row: not shared.isdisjoint(_named(row, what)))
    noun = {"study": "studies", "file": "files"}[what]
    return lines and (
        f"{len(shared)} {noun} are named by rows of several patients ({lines}): a number given twice, or another patient's row"
    )


def _named(row: CsvRow, what: str) -> Iterable[str]:
    if what == "study":
        return () if row.study is None else (row.study,)
    return tuple(block.path for block in row.blocks)


def _studies_in_parts(rows: Sequence[CsvRow]) -> str | None:
    """Reports that are given to several rows of one study, each with other files."""
    files: dict[Hashable, set[Hashable]] = defaultdict(set)
    for row in rows:
        for kind, _, answer, _ in row.turns:
            if kind == "report" and row.study is not None:
                files[row.patient, row.study, answer].add(tuple(block.path for block in row.blocks))
    parts = sum(len(found) > 1 for found in files.values())
    if not parts:
        return None
    return (
        f"{parts} reports are repeated in several rows of one study, each with other files: each file alone is taught the "
        "whole report; put the files of a study into one cell, separated by ';', to show them together"
    )


def _naming(rows: Sequence[CsvRow]) -> str | None:
    """Texts and paths that hold the patient, study or id of their row."""
    texts = _lines(rows, lambda row: any(_holds(row, text) for turn in row.turns for text in turn[1:3]))
    paths = _lines(rows, lambda row: any(_holds(row, block.path) for block in row.blocks))
    found = [f"texts ({texts})"] * bool(texts) + [f"paths ({paths})"] * bool(paths)
    if not found:
        return None
    return (
        f"{' and '.join(found)} hold the patient, study or id of their row: the data set, and a model that learns the text, "
        "names them"
    )


def _holds(row: CsvRow, text: str) -> bool:
    names = (
        name for name in (row.patient, row.study, row.id) if name is not None and len(name) >= SHORTEST_ID
    )
    return any(re.search(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", text, re.IGNORECASE) for name in names)


def _dates(rows: Sequence[CsvRow]) -> str | None:
    lines = _lines(rows, lambda row: row.date is not None and not EARLIEST <= row.date <= date.today())
    return lines and (
        f"{lines}: dates before {EARLIEST.year} or after today; a program's word for no date makes a study old or new"
    )


def _undated(rows: Sequence[CsvRow]) -> str | None:
    """Rows without a date of patients who have one elsewhere."""
    dated = {row.patient for row in rows if row.date is not None and row.patient is not None}
    lines = _lines(rows, lambda row: row.date is None and row.patient in dated)
    return (
        lines
        and f"{lines}: no date, though other rows of the patient have one; how old the study is stays unknown"
    )


def _lines(rows: Sequence[CsvRow], concerns: Callable[[CsvRow], bool]) -> str | None:
    """`line 2, 3` of the rows concerned, or None."""
    lines = [str(row.line) for row in rows if concerns(row)]
    return f"line {first_of(lines, 5, separator=', ')}" if lines else None

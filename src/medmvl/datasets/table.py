"""A table of a hospital's own: its encoding, its separator, and which column is what."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from medmvl.errors import UserError
from medmvl.messages import first_of

ENCODINGS = ("utf-8-sig", "gb18030")
"""Tried in this order; spreadsheets in Chinese write the second."""
_CHINESE = re.compile("[\u4e00-\u9fff]{2}")
"""Two characters in a row: accented letters of Western encodings mostly decode as single ones within words."""
SEPARATORS = ",\t;|"
_TRIED = 50
"""Rows by which the separator is chosen."""
_SAID_SEPARATOR = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)
"""First line by which Excel says the separator."""
COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_path", "filepath", "image_path", "study_folder", "folder", "文件", "路径",
             "文件路径", "影像路径", "图像路径", "datei", "dateiname", "dateipfad", "pfad", "ordner"),
    "image": ("image", "image_name", "images", "img", "xray", "x-ray", "影像", "图像", "图片", "bild"),
    "volume": ("volume", "volumes", "image3d", "ct", "scan", "series", "series_folder", "体数据", "序列"),
    "question": ("question", "prompt", "query", "instruction", "问题", "提问", "frage"),
    "answer": ("answer", "response", "label", "答案", "回答", "antwort"),
    "reasoning": ("reasoning", "rationale", "thinking", "chain_of_thought", "推理", "思考过程"),
    "report": ("report", "findings", "report_text", "text", "impression", "报告", "影像所见", "诊断报告",
               "befund"),
    "patient": ("patient", "patient_id", "patientid", "subject", "subject_id", "mrn", "病人", "患者", "患者id", "病历号",
                "病人id", "患者编号", "病人编号", "住院号", "patienten-id", "patientenid", "patientennummer", "patid",
                "pat-id", "pat_id", "patnr"),
    "study": ("study", "study_id", "studyid", "accession", "accession_number", "exam_id", "检查号", "检查编号",
              "untersuchungsnummer", "auftragsnummer"),
    "units": ("units", "单位"),
    "modality": ("modality", "检查类型", "模态"),
    "prior": ("prior", "prior_path", "prior_image", "prior_study", "既往影像"),
    "prior_days": ("prior_days", "days_before_current", "days_before", "既往天数"),
    "id": ("id", "sample_id", "row_id", "编号"),
    "split": ("split", "fold", "partition", "subset", "划分"),
    "date": ("date", "study_date", "studydate", "exam_date", "scan_date", "日期", "检查日期", "datum", "untersuchungsdatum"),
}  # fmt: skip
"""Names by which a column is recognised, in order of preference, without regard to case."""


@dataclass(frozen=True)
class Table:
    """The rows of a table as they are."""

    header: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]
    """Line on which a row begins, and column name to text without blanks around it; lines of a text end in `\\n`."""
    encoding: str
    warnings: tuple[str, ...] = ()


def read_table(path: Path) -> Table:
    """Read CSV, TSV or XLSX; commas, tabs, semicolons and bars separate, also as Excel's first line `sep=;` says.

    Raises:
        UserError: where it is no such table, or a row has more fields than the header.
        MissingExtraError: XLSX without its extra.
        OSError: where it cannot be read.
    """
    if path.suffix.lower() in (".xlsx", ".xlsm"):
        from medmvl.datasets.spreadsheet import read_spreadsheet

        header, rows, warnings = read_spreadsheet(path)
        table = _table(path, header, rows, "xlsx")
        return replace(table, warnings=(*table.warnings, *warnings))
    return _table(path, *_read_text(path))


def _table(
    path: Path, header: tuple[str, ...], rows: Iterable[tuple[int, Sequence[str]]], encoding: str
) -> Table:
    """Check the header and every row, and leave out empty rows."""
    _check_header(header, path)
    kept: list[tuple[int, dict[str, str]]] = []
    short = []
    for line, fields in rows:
        if len(fields) > len(header):
            raise UserError(
                f"{path}, line {line}: {len(fields)} fields, but the header has {len(header)}; "
                "put text with separators into quotes"
            )
        if any(field.strip() for field in fields):
            kept.append((line, dict(zip(header, map(_clean, fields), strict=False))))
            short += [str(line)] * (len(fields) < len(header))
    if not kept:
        raise UserError(f"{path}: a header, but no rows")
    return Table(header, kept, encoding, _short_rows(short))


def _clean(field: str) -> str:
    r"""A cell without blanks around it, the lines of its text ended by `\n` alone."""
    return field.replace("\r\n", "\n").replace("\r", "\n").strip()


def _short_rows(lines: Sequence[str]) -> tuple[str, ...]:
    """Warn of rows that end before the header does."""
    if not lines:
        return ()
    return (
        f"line {first_of(lines, 5, separator=', ')}: fewer fields than the header. Where a text has a line break outside of "
        "quotes, the row before it has lost its end: put such texts into quotes",
    )


def _read_text(path: Path) -> tuple[tuple[str, ...], list[tuple[int, list[str]]], str]:
    text, encoding = _decode(path)
    said = _SAID_SEPARATOR.match(text)
    text = text[said.end() :] if said else text
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=said[1] if said else _separator(text), strict=True
    )
    before = 1 if said else 0
    try:
        header = tuple(name.strip() for name in next(reader, []))
        rows, line = [], reader.line_num + 1
        for fields in reader:
            rows.append((before + line, fields))
            line = reader.line_num + 1
        return header, rows, encoding
    except csv.Error as error:
        raise UserError(f"{path}, line {before + reader.line_num}: not a readable table ({error})") from None


def _separator(text: str) -> str:
    """The separator by which most of the first rows have as many fields as the header, and the most fields."""
    return max(SEPARATORS, key=lambda separator: _fit(text, separator))


def _fit(text: str, separator: str) -> tuple[bool, float, int]:
    """Whether a separator divides the header, the share of rows that it divides alike, and into how many fields."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        header, *rows = list(islice(reader, _TRIED)) or [[]]
    except csv.Error:
        return False, 0.0, 0
    alike = sum(len(row) == len(header) for row in rows)
    return len(header) > 1, alike / max(1, len(rows)), len(header)


def find_columns(header: tuple[str, ...], named: Mapping[str, str | None]) -> dict[str, str]:
    """Say which column is what: those the user named, then those with a known name.

    Args:
        header: the table's columns.
        named: role (a key of COLUMN_NAMES) to the column a user named, or None.

    Raises:
        UserError: where a named column is not there, listing those that are, or two columns are called alike.
    """
    found: dict[str, str] = {}
    for role, column in named.items():
        if column is None:
            continue
        if column not in header:
            raise UserError(f"no column '{column}' for the {role}; the table has: {', '.join(header)}")
        found[role] = column
    by_name: dict[str, list[str]] = {}
    for column in header:
        by_name.setdefault(column.lower().replace(" ", "_"), []).append(column)
    for role, names in COLUMN_NAMES.items():
        if role in found:
            continue
        free = ([c for c in by_name.get(name, ()) if c not in found.values()] for name in names)
        columns = next(filter(None, free), [])
        if len(columns) > 1:
            raise UserError(
                f"the columns {', '.join(map(repr, columns))} are both called like the {role}; rename one of them"
            )
        if columns:
            found[role] = columns[0]
    return found


def _check_header(header: tuple[str, ...], path: Path) -> None:
    if len(header) < 2 or not all(header):
        raise UserError(
            f"{path}: the first line must name at least two columns, none empty; found {list(header)}"
        )
    if len(set(header)) < len(header):
        raise UserError(f"{path}: two columns have the same name; found {', '.join(header)}")


def _is_chinese(text: str) -> bool:
    """Whether a text that decodes as GB 18030 was meant so: Chinese uses the common characters of GB 2312.

    German in Latin-1 decodes, too (`äußere` as two characters), but to characters that GB 2312 does not have, as their
    second byte is the one of an ASCII letter.
    """
    strange = [character for character in text if not character.isascii()]
    common = sum(bool(character.encode("gb2312", "ignore")) for character in strange)
    return _CHINESE.search(text) is not None and common > 0.5 * len(strange)


def _decode(path: Path) -> tuple[str, str]:
    data = path.read_bytes()
    if b"\0" in data[:4096]:
        raise UserError(f"{path}: not a text table; save a spreadsheet as XLSX or CSV (UTF-8)")
    for encoding in ENCODINGS:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding != "gb18030" or _is_chinese(text):
            return text, encoding
    raise UserError(f"{path}: neither UTF-8 nor GB 18030; save it as CSV (UTF-8)")

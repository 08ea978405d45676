"""A table of a hospital's own: its encoding, its separator, and which column is what."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medmvl.errors import UserError

ENCODINGS = ("utf-8-sig", "gb18030")
"""Tried in this order; spreadsheets in Chinese write the second."""
_CHINESE = re.compile("[\u4e00-\u9fff]{2}")
"""Two characters in a row: accented letters of Western encodings decode as single ones within words."""
COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "path": ("path", "file", "filename", "file_path", "filepath", "image_path", "study_folder", "folder", "文件", "路径",
             "文件路径"),
    "image": ("image", "image_name", "images", "img", "xray", "x-ray", "影像", "图像", "图片"),
    "volume": ("volume", "volumes", "image3d", "ct", "scan", "series", "series_folder", "体数据", "序列"),
    "question": ("question", "prompt", "query", "instruction", "问题", "提问"),
    "answer": ("answer", "response", "label", "答案", "回答"),
    "reasoning": ("reasoning", "rationale", "thinking", "chain_of_thought", "推理", "思考过程"),
    "report": ("report", "findings", "report_text", "text", "impression", "报告", "影像所见", "诊断报告"),
    "patient": ("patient", "patient_id", "patientid", "subject", "subject_id", "mrn", "病人", "患者", "患者id", "病历号"),
    "study": ("study", "study_id", "studyid", "accession", "accession_number", "exam_id", "检查号", "检查编号"),
    "units": ("units", "单位"),
    "modality": ("modality", "检查类型", "模态"),
    "prior": ("prior", "prior_path", "prior_image", "prior_study", "既往影像"),
    "prior_days": ("prior_days", "days_before_current", "days_before", "既往天数"),
    "id": ("id", "sample_id", "row_id", "编号"),
    "split": ("split", "fold", "partition", "subset", "划分"),
    "date": ("date", "study_date", "studydate", "exam_date", "scan_date", "日期", "检查日期"),
}  # fmt: skip
"""Names by which a column is recognised, in order of preference, without regard to case."""


@dataclass(frozen=True)
class Table:
    """The rows of a table as they are."""

    header: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]
    """Line number, and column name to text without blanks around it."""
    encoding: str
    warnings: tuple[str, ...] = ()


def read_table(path: Path) -> Table:
    """Read CSV, TSV or XLSX; commas, tabs, semicolons and bars separate.

    Raises:
        UserError: where it is no such table, or a row has more fields than the header.
        MissingExtraError: XLSX without its extra.
        OSError: where it cannot be read.
    """
    if path.suffix.lower() in (".xlsx", ".xlsm"):
        from medmvl.datasets.spreadsheet import read_spreadsheet

        header, rows, warnings = read_spreadsheet(path)
        return replace(_table(path, header, rows, "xlsx"), warnings=warnings)
    return _table(path, *_read_text(path))


def _table(
    path: Path, header: tuple[str, ...], rows: Iterable[tuple[int, Sequence[str]]], encoding: str
) -> Table:
    """Check the header and every row, and leave out empty rows."""
    _check_header(header, path)
    kept = []
    for line, fields in rows:
        if len(fields) > len(header):
            raise UserError(
                f"{path}, line {line}: {len(fields)} fields, but the header has {len(header)}; "
                "put text with separators into quotes"
            )
        if any(field.strip() for field in fields):
            kept.append((line, dict(zip(header, map(str.strip, fields), strict=False))))
    if not kept:
        raise UserError(f"{path}: a header, but no rows")
    return Table(header, kept, encoding)


def _read_text(path: Path) -> tuple[tuple[str, ...], list[tuple[int, list[str]]], str]:
    text, encoding = _decode(path)
    first = text.split("\n", 1)[0]
    separator = max(",\t;|", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        header = tuple(name.strip() for name in next(reader, []))
        return header, [(reader.line_num, fields) for fields in reader], encoding
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not a readable table ({error})") from None


def find_columns(header: tuple[str, ...], named: Mapping[str, str | None]) -> dict[str, str]:
    """Say which column is what: those the user named, then those with a known name.

    Args:
        header: the table's columns.
        named: role (a key of COLUMN_NAMES) to the column a user named, or None.

    Raises:
        UserError: where a named column is not there, listing those that are.
    """
    found: dict[str, str] = {}
    for role, column in named.items():
        if column is None:
            continue
        if column not in header:
            raise UserError(f"no column '{column}' for the {role}; the table has: {', '.join(header)}")
        found[role] = column
    by_name = {column.lower().replace(" ", "_"): column for column in header}
    for role, names in COLUMN_NAMES.items():
        free = (by_name[name] for name in names if name in by_name and by_name[name] not in found.values())
        column = next(free, None)
        if role not in found and column is not None:
            found[role] = column
    return found


def _check_header(header: tuple[str, ...], path: Path) -> None:
    if len(header) < 2 or not all(header):
        raise UserError(
            f"{path}: the first line must name at least two columns, none empty; found {list(header)}"
        )
    if len(set(header)) < len(header):
        raise UserError(f"{path}: two columns have the same name; found {', '.join(header)}")


def _decode(path: Path) -> tuple[str, str]:
    data = path.read_bytes()
    if b"\0" in data[:4096]:
        raise UserError(f"{path}: not a text table; save a spreadsheet as XLSX or CSV (UTF-8)")
    for encoding in ENCODINGS:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if encoding != "gb18030" or _CHINESE.search(text):
            return text, encoding
    raise UserError(f"{path}: neither UTF-8 nor GB 18030; save it as CSV (UTF-8)")

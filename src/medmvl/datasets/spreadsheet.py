"""A table in an Excel workbook: its one sheet that holds anything, every cell as the text that a CSV would have."""

from __future__ import annotations

import zipfile
from datetime import date, datetime, time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from medmvl.errors import MissingExtraError, UserError

if TYPE_CHECKING:
    from openpyxl.cell import Cell
    from openpyxl.worksheet.worksheet import Worksheet

Rows = list[tuple[int, tuple[str, ...]]]


def read_spreadsheet(path: Path) -> tuple[tuple[str, ...], Rows]:
    """The header and the rows with their numbers. Formulas give the values that Excel stored with them.

    Raises:
        UserError: it is no workbook, several visible sheets hold something, or a cell holds an error of Excel.
        MissingExtraError: openpyxl is missing.
        OSError: the file cannot be read.
    """
    if find_spec("openpyxl") is None:
        raise MissingExtraError(
            "reading .xlsx needs openpyxl; install it with: pip install -e '.[xlsx]' in the clone, or save it as CSV"
        )
    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    try:
        workbook = load_workbook(path, read_only=True, data_only=True)
        sheets = {
            sheet.title: rows
            for sheet in workbook.worksheets
            if sheet.sheet_state == "visible" and (rows := _rows(sheet, path))
        }
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path}: not a workbook that can be read ({type(error).__name__}); save it as CSV (UTF-8)"
        ) from None
    if len(sheets) != 1:
        names = ", ".join(sheets) or "none"
        raise UserError(
            f"{path}: expected one visible sheet that holds something, found: {names}; keep one, or save it as CSV"
        )
    (_, header), *rows = next(iter(sheets.values()))
    width = max(index for index, name in enumerate(header, 1) if name)
    return header[:width], [(line, _without_end(fields, width)) for line, fields in rows]


def _rows(sheet: Worksheet, path: Path) -> Rows:
    """The rows of a sheet from the first that holds something."""
    rows = [
        (line, tuple(_text(cell, f"{path}, sheet {sheet.title}, row {line}") for cell in cells))
        for line, cells in enumerate(sheet.iter_rows(), 1)
    ]
    return [(line, fields) for line, fields in rows if any(fields)]


def _text(cell: Cell, where: str) -> str:
    """A cell as a person would type it into a CSV; a date is YYYY-MM-DD."""
    value = cell.value
    if value is None:
        return ""
    if cell.data_type == "e":
        raise UserError(f"{where}: a cell holds the error {value}; correct it in the workbook")
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(sep=" ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _without_end(fields: tuple[str, ...], width: int) -> tuple[str, ...]:
    """The fields without empty ones after the header's last name."""
    end = max((index for index, text in enumerate(fields, 1) if text), default=0)
    return fields[: max(width, end)]

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

EXCEL_DIGITS = 10**15
"""From here on Excel has lost the last digits of a whole number."""
Rows = list[tuple[int, tuple[str, ...]]]


def read_spreadsheet(path: Path) -> tuple[tuple[str, ...], Rows, tuple[str, ...]]:
    """The header, the rows with their numbers, and warnings. Formulas give the values that Excel stored with them.

    Raises:
        UserError: it is no workbook, several visible sheets hold something, cells are merged, a cell holds an error of
            Excel, or a formula has no value.
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
        workbook = load_workbook(path, data_only=True)
        sheets = {
            sheet.title: rows
            for sheet in workbook.worksheets
            if sheet.sheet_state == "visible" and (rows := _rows(sheet, path))
        }
        if len(sheets) == 1:
            _check_formulas(path, workbook[next(iter(sheets))])
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
    (title, ((_, header), *rows)), *_ = sheets.items()
    width = max(index for index, name in enumerate(header, 1) if name)
    body = [(line, _without_end(fields, width)) for line, fields in rows]
    return header[:width], body, _hidden(workbook[title], rows)


def _hidden(sheet: Worksheet, rows: Rows) -> tuple[str, ...]:
    """Warn of rows that nobody sees in Excel: hidden by hand or by a filter."""
    hidden = sum(sheet.row_dimensions[line].hidden is True for line, _ in rows)
    return (
        (f"{hidden} rows are hidden in the workbook and count as all others: delete those you do not mean",)
        if hidden
        else ()
    )


def _check_formulas(path: Path, sheet: Worksheet) -> None:
    """Raise UserError where a formula has no value, as where a program wrote it and Excel never calculated it."""
    from openpyxl import load_workbook

    with zipfile.ZipFile(path) as archive:
        parts = [name for name in archive.namelist() if name.startswith("xl/worksheets/")]
        if not any(b"<f" in archive.read(name) for name in parts):
            return
    for line, cells in enumerate(load_workbook(path, read_only=True)[sheet.title].iter_rows(), 1):
        for column, cell in enumerate(cells, 1):
            if cell.data_type == "f" and sheet.cell(line, column).value is None:
                raise UserError(
                    f"{path}, sheet {sheet.title}, row {line}: a formula without its value; save the workbook in Excel"
                )


def _rows(sheet: Worksheet, path: Path) -> Rows:
    """The rows of a sheet from the first that holds something."""
    if merged := [str(cells) for cells in sheet.merged_cells.ranges]:
        raise UserError(
            f"{path}, sheet {sheet.title}: the cells {', '.join(merged[:3])} are merged, so that only the first one has a "
            "value; unmerge them and fill every row"
        )
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
    if isinstance(value, int | float) and abs(value) >= EXCEL_DIGITS:
        raise UserError(
            f"{where}: a number of more than 15 digits, of which Excel keeps 15; format the column as text and export again"
        )
    if isinstance(value, int | float) and not isinstance(value, bool) and (shown := _as_shown(value, cell)):
        return shown
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).replace("_x000D_", "").strip()  # how workbooks write a carriage return


def _as_shown(value: float, cell: Cell) -> str | None:
    """A number whose format changes what it says: `007` by the format 000, `50%` for 0.5."""
    pattern = str(cell.number_format)
    if set(pattern) == {"0"} and len(pattern) > 1 and value >= 0 and value == int(value):
        return f"{int(value):0{len(pattern)}d}"
    return f"{value * 100:.10g}%" if pattern.endswith("%") else None


def _without_end(fields: tuple[str, ...], width: int) -> tuple[str, ...]:
    """The fields without empty ones after the header's last name."""
    end = max((index for index, text in enumerate(fields, 1) if text), default=0)
    return fields[: max(width, end)]

"""A table of numbers for a terminal of 80 columns: names give way, numbers are never cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table


def number_table(
    name: str,
    numbers: Sequence[str],
    *,
    texts: Sequence[str] = (),
    title: str | None = None,
    caption: str | None = None,
    padding: int | tuple[int, int] = (0, 1),
) -> Table:
    """A table without rows.

    Args:
        name: heading of the first column, whose texts fold where the terminal is narrow.
        numbers: headings of the columns of numbers, on the right.
        texts: headings of columns of short texts between them, never cut either.
        title: above the table.
        caption: below it.
        padding: of each cell, as rich takes it.
    """
    from rich import box
    from rich.table import Table

    table = Table(title=title, caption=caption, box=box.SIMPLE_HEAD, padding=padding, pad_edge=False)
    table.add_column(name, overflow="fold")
    for heading in texts:
        table.add_column(heading, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table

"""The page of data sets and tasks gets its tables from the code: a new file and its line are enough."""

import re
from pathlib import Path

import pytest

from medmvl.datasets.public import DATASETS, TASKS
from medmvl.datasets.public.unimed import UNIMED_RATIOS
from tests.factories.scripts import load_script

REFERENCE = load_script("docs/reference/generate.py")
ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/reference/datasets.md"


@pytest.fixture(scope="module")
def rows() -> list[str]:
    return [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]


def test_the_page_in_a_clone_has_its_tables() -> None:
    assert REFERENCE.with_tables("reference/datasets.md") == PAGE.read_text(encoding="utf-8"), (
        "make reference"
    )


def test_who_adds_a_data_set_is_shown_a_whole_one() -> None:
    page = (ROOT / "docs/how-to/convert-a-dataset.md").read_text(encoding="utf-8")
    ((name, shown),) = re.findall(r'```python title="([^"]+)"\n(.*?)```', page, re.DOTALL)
    assert shown == (ROOT / name).read_text(encoding="utf-8")


def test_every_data_set_has_its_row(rows: list[str]) -> None:
    for name, dataset in DATASETS.items():
        row = next(row for row in rows if row.startswith(f"| [`{name}`]({dataset.url})"))
        for said in (dataset.licence, dataset.layout, dataset.size, dataset.split):
            assert said.replace("|", "\\|").replace("*", "\\*").replace("<", "\\<") in row
        assert len(re.findall(r"(?<!\\)\|", row)) == 6, "five cells"


def test_every_task_has_its_row(rows: list[str]) -> None:
    for name, task in TASKS.items():
        row = next(row for row in rows if row.startswith(f"| `{name}` | {task.title}"))
        for text in (f"`{task.data}`", f"`{task.protocol}`", ", ".join(task.question_types)):
            assert text.replace("*", "\\*").replace("<", "\\<") in row


def test_no_row_is_about_something_else(rows: list[str]) -> None:
    names = {row.split("`")[1] for row in rows if "`" in row.split("|")[1]}
    assert names == {*DATASETS, *TASKS}
    for name, ratio in UNIMED_RATIOS.items():
        assert f"| `{name}` | {ratio:g} |" in rows

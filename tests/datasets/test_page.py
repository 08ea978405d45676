"""The page of data sets and tasks says what the tables in the code say."""

from pathlib import Path

import pytest

from medmvl.datasets.public import DATASETS, TASKS
from medmvl.datasets.public.unimed import UNIMED_RATIOS

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "datasets.md"
ROWS = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_has_its_row(name: str) -> None:
    dataset = DATASETS[name]
    row = next(row for row in ROWS if row.startswith(f"| [`{name}`]({dataset.url})"))
    for said in (dataset.licence, dataset.layout, dataset.size, dataset.split):
        assert said.replace("|", "\\|") in row


@pytest.mark.parametrize("name", TASKS)
def test_every_task_has_its_row(name: str) -> None:
    task = TASKS[name]
    row = next(row for row in ROWS if row.startswith(f"| `{name}` | {task.title}"))
    said = (f"`{task.data}`", f"`{task.protocol}`", ", ".join(task.kinds))
    for text in said:
        assert text.replace("*", "\\*") in row


def test_no_row_is_about_something_else() -> None:
    names = {row.split("`")[1] for row in ROWS if "`" in row.split("|")[1]}
    assert names == {*DATASETS, *TASKS}
    for name, ratio in UNIMED_RATIOS.items():
        assert f"| `{name}` | {ratio:g} |" in ROWS

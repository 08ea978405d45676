"""One page over several tasks: every number beside its controls, each task with a link to its own report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medmvl.atomic_files import write_text
from medmvl.evaluation.pages import render
from medmvl.evaluation.results import Results
from medmvl.evaluation.statistics import FEW_CLUSTERS


def write_overview(path: Path, tasks: Sequence[tuple[str, str, Results]]) -> None:
    """Write the page.

    Args:
        path: the `.html` file, beside the folders of the tasks.
        tasks: for each its folder's name, its title and its results.
    """
    shown = [
        {
            "folder": folder, "title": title, "about": results.about, "warnings": results.warnings,
            "failures": len(results.failures), "rows": [row.to_json() for row in results.rows],
        }
        for folder, title, results in tasks
    ]  # fmt: skip
    write_text(path, render("index.html.jinja", tasks=shown, few=FEW_CLUSTERS))

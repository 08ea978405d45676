"""One page over several tasks: every number beside its controls, each task with a link to its own report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medmvl.evaluation.results import Results
from medmvl.evaluation.statistics import FEW_CLUSTERS
from medmvl.files import write_text


def write_overview(path: Path, tasks: Sequence[tuple[str, str, Results]]) -> None:
    """Write the page.

    Args:
        path: the `.html` file, beside the folders of the tasks.
        tasks: for each its folder's name, its title and its results.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("medmvl.evaluation"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    shown = [
        {
            "folder": folder, "title": title, "about": results.about, "warnings": results.warnings,
            "failures": len(results.failures), "rows": [row.to_json() for row in results.rows],
        }
        for folder, title, results in tasks
    ]  # fmt: skip
    write_text(path, environment.get_template("index.html.jinja").render(tasks=shown, few=FEW_CLUSTERS))

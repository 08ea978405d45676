"""A plot of an experiment: every variant's score with its interval, and what it scores without its image."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from medmvl.atomic_files import atomic_write
from medmvl.experiments.conclusions import Outcome


def draw(found: Sequence[Outcome], question: str, path: Path) -> None:
    """Write a PNG: one row per variant, the first on top."""
    figure = Figure(figsize=(8, 1.3 + 0.45 * len(found)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rows = range(len(found))
    scores = [o.score for o in found]
    errors = [[s.value - s.low for s in scores], [s.high - s.value for s in scores]]
    axes.errorbar(
        [s.value for s in scores], rows, xerr=errors, fmt="o", capsize=3, label="score, 95 % interval"
    )
    controls = [(o.control, row) for row, o in enumerate(found) if o.control is not None]
    if controls:
        values, places = zip(*controls, strict=True)
        axes.scatter(values, places, s=200, marker="|", color="grey", label="without image, or majority")
    axes.set_yticks(list(rows), [o.variant + ("" if o.difference else " (reference)") for o in found])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("mean score")
    axes.set_title(question, fontsize=10)
    axes.grid(axis="x", alpha=0.3)
    axes.legend(loc="lower left", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())

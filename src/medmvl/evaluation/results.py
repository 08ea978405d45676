"""Results: one row per group (2D or 3D, type of question, language), each next to its controls; as JSON and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from medmvl.atomic_files import write_json
from medmvl.evaluation.number_table import number_table
from medmvl.evaluation.significance import detectable_difference
from medmvl.evaluation.statistics import (
    Interval,
    difference_interval,
    few_vary,
    mean_interval,
    several,
    tally_interval,
)
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.tasks import Group, Judgement
from medmvl.tasks.metrics.tally import Tally

if TYPE_CHECKING:
    from rich.table import Table

_FORMS = (".2f", ".2f", ".2f", "+.2f")
_UNPAIRED = math.sqrt(2)
"""A difference of two independent models varies so much more than one model's score."""
HEADINGS = {"accuracy": "closed: accuracy", "token_f1": "open: token F1"}


@dataclass(frozen=True)
class Judged:
    """One sample, its answers and what they are worth."""

    id: str
    group: Group
    cluster: str
    question: str
    truth: str
    text: str
    judgement: Judgement
    no_image: tuple[str, Judgement] | None = None
    """The model's answer without its image."""
    majority: tuple[str, Judgement] | None = None
    """The most frequent answer of the group."""
    swapped_image: tuple[str, Judgement] | None = None
    """The model's answer to the same question about another patient's image."""

    def to_json(self) -> JsonObject:
        """One line of `answers.jsonl`, without the cluster, which `Results` numbers."""
        controls = {"no_image": self.no_image, "majority": self.majority, "swapped_image": self.swapped_image}
        return {
            "id": self.id, "modality": self.group.modality, "question_type": self.group.question_type, "language":
            self.group.language, "question": self.question, "truth": self.truth, "text": self.text,
            **self.judgement.__dict__, **{name: {"text": c[0], "score": c[1].score} for name, c in
            controls.items() if c is not None},
        }  # fmt: skip


@dataclass(frozen=True)
class Row:
    """One number and its controls."""

    group: Group
    metric: str
    score: Interval
    exact: float
    """Share of answers that equal a reference."""
    majority: Interval | None
    no_image: Interval | None
    needs_image: Interval | None
    """Score minus the larger of majority and no image, paired by answer: what needs the image."""
    swapped_image: Interval | None = None
    """Score with another patient's image; None where some question had no other patient to take one from."""
    detectable: float | None = None
    """The smallest difference to an unrelated model that these patients would show, with 80 % power."""

    def to_json(self) -> JsonObject:
        """Plain values."""
        names = ("score", "majority", "no_image", "swapped_image", "needs_image")
        intervals = {name: getattr(self, name) for name in names}
        return {
            "modality": self.group.modality, "question_type": self.group.question_type, "language": self.group.language,
            "metric": self.metric, "exact": self.exact, "detectable_difference": self.detectable,
            **{name: None if value is None else value.to_json() for name, value in intervals.items()},
        }  # fmt: skip


@dataclass(frozen=True)
class Results:
    """What an evaluation found, and how it was made."""

    rows: tuple[Row, ...]
    about: JsonMapping
    """Protocol, digests, options, versions, times, counts."""
    warnings: tuple[str, ...] = ()
    failures: tuple[tuple[str, str], ...] = ()
    """Samples that could not be answered, and why; they count as wrong."""
    judged: tuple[Judged, ...] = ()
    """Every answer; also the lines of `answers.jsonl`."""
    more: JsonMapping = field(default_factory=dict)
    """Results that were asked for next to the rows: `robustness`, `calibration`, `consistency`."""

    def answer_lines(self) -> list[JsonObject]:
        """The lines of `answers.jsonl`; clusters are numbered, so that no pseudonym leaves with them."""
        numbers = {name: i for i, name in enumerate(dict.fromkeys(item.cluster for item in self.judged))}
        return [{**item.to_json(), "cluster": numbers[item.cluster]} for item in self.judged]

    def row(self, modality: str, question_type: str, language: str) -> Row:
        """One row.

        Raises:
            KeyError: there is none.
        """
        for row in self.rows:
            if row.group == Group(modality, question_type, language):
                return row
        raise KeyError(f"{modality} {question_type} {language}")

    def save(self, path: Path) -> None:
        """Write `results.json`."""
        failures = [{"id": name, "error": error} for name, error in self.failures]
        rows = [row.to_json() for row in self.rows]
        warnings = list(self.warnings)
        write_json(
            path, {**self.about, "warnings": warnings, "rows": rows, **self.more, "failures": failures}
        )


def summarise(judged: Sequence[Judged], seed: int = 0) -> tuple[Row, ...]:
    """One row for every group and metric, ordered."""
    groups: dict[tuple[Group, str], list[Judged]] = {}
    for item in judged:
        groups.setdefault((item.group, item.judgement.metric), []).append(item)
    return tuple(_row(group, metric, groups[group, metric], seed) for group, metric in sorted(groups))


def _row(group: Group, metric: str, items: Sequence[Judged], seed: int) -> Row:
    clusters = [item.cluster for item in items]
    scores = [item.judgement.score for item in items]
    names = ("majority", "no_image", "swapped_image")
    scored = {
        name: [control[1].score for item in items if (control := getattr(item, name)) is not None]
        for name in names
    }
    known = {name: values for name, values in scored.items() if len(values) == len(items)}
    intervals = {name: mean_interval(values, clusters, seed=seed) for name, values in known.items()}
    controls = [known[name] for name in ("majority", "no_image") if name in known]
    detectable = detectable_difference(scores, clusters)
    return Row(
        group=group,
        metric=metric,
        score=mean_interval(scores, clusters, seed=seed),
        exact=sum(item.judgement.exact for item in items) / len(items),
        majority=intervals.get("majority"),
        no_image=intervals.get("no_image"),
        needs_image=_needs_image(scores, controls, clusters, seed) if controls else None,
        swapped_image=intervals.get("swapped_image"),
        detectable=None if detectable is None else _UNPAIRED * detectable,
    )


def _needs_image(
    scores: Sequence[float], controls: Sequence[Sequence[float]], clusters: Sequence[str], seed: int
) -> Interval:
    """Score minus the largest of the controls, the largest chosen again in every resample."""
    largest = max(controls, key=sum)
    if few_vary(np.subtract(scores, largest).tolist(), clusters):
        return difference_interval(scores, largest, clusters, seed=seed)
    rows = np.column_stack([np.ones(len(scores)), scores, *controls])
    gain = Tally(rows, lambda sums: (sums[..., 1] - sums[..., 2:].max(-1)) / sums[..., 0])
    return tally_interval(gain, clusters, seed=seed)


def extra_lines(results: Results) -> list[str]:
    """Calibration and consistency for a terminal, one line per row; nothing where neither was asked for."""
    lines = []
    for row in results.more.get("calibration", ()):
        error = row["error"]
        name = f"{row['modality']} {row['question_type']} {row['language']}"
        around = "" if error["low"] is None else f" [{error['low']:.2f}, {error['high']:.2f}]"
        lines.append(f"Calibration, {name}: error {error['value']:.2f}{around}")
    for row in results.more.get("consistency", ()):
        alike, right = row["alike"], row["all_right"]
        over = "English and Chinese" if row["over"] == "languages" else "other words"
        lines.append(
            f"Consistency, {row['modality']} {row['question_type']}, {over}: judged alike {alike['value']:.2f} "
            f"[{alike['low']:.2f}, {alike['high']:.2f}], all right {right['value']:.2f} (n {alike['n']})"
        )
    return lines


def to_table(results: Results, title: str = "Evaluation") -> Table:
    """The rows for a terminal of 80 columns, closed questions first; intervals are 95 %."""
    cluster = str(results.about.get("cluster", "patient"))
    caption = f"\\[x, y]: 95 % over {several(cluster)}. needs image: score minus the better of the first two."
    columns = ("n", "score", "major-\nity", "no\nimage", "swapped\nimage", "needs\nimage")
    table = number_table("question", columns, title=title, caption=caption, padding=0)
    for metric, heading in HEADINGS.items():
        rows = [row for row in results.rows if row.metric == metric]
        if rows:
            table.add_section()
            table.add_row(f"[bold]{heading}[/bold]")
        for row in rows:
            values = (row.majority, row.no_image, row.swapped_image, row.needs_image)
            means = [
                "-" if v is None else format(v.value, form) for v, form in zip(values, _FORMS, strict=True)
            ]
            score = str(row.score).replace("[", "\\[")
            table.add_row(str(row.group), str(row.score.n), score, *means)
    return table

"""Runs on the same samples, compared in pairs: difference, interval, permutation p, Holm over the whole table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medmvl.atomic_files import atomic_write, write_json
from medmvl.errors import UserError
from medmvl.evaluation.significance import detectable_difference, holm, sign_flip_p
from medmvl.evaluation.statistics import FEW_CLUSTERS, Interval, difference_interval, several
from medmvl.json_types import JsonObject

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 0.05
"""A difference counts as shown where Holm's p is below this."""
_SAME = ("question", "truth", "metric", "question_type", "modality", "language", "cluster")


@dataclass(frozen=True)
class Run:
    """What a folder of `medmvl evaluate` holds."""

    name: str
    about: JsonObject
    answers: dict[str, JsonObject]


@dataclass(frozen=True)
class Pair:
    """One model against the first, on one group of questions."""

    run: str
    base: str
    group: str
    metric: str
    score: float
    base_score: float
    difference: Interval
    p: float
    p_holm: float
    detectable: float | None
    """The smallest true difference that these answers would show, with 80 % power."""

    def to_json(self) -> JsonObject:
        """Plain values."""
        return {**self.__dict__, "difference": self.difference.to_json()}


@dataclass(frozen=True)
class Comparison:
    """All pairs, and what to mind when reading them."""

    pairs: tuple[Pair, ...]
    cluster: str
    warnings: tuple[str, ...]

    def save(self, path: Path) -> None:
        """Write the table as JSON."""
        pairs = [pair.to_json() for pair in self.pairs]
        write_json(path, {"cluster": self.cluster, "warnings": list(self.warnings), "pairs": pairs})


def read_run(folder: Path) -> Run:
    """Read a finished evaluation.

    Raises:
        UserError: the folder holds none.
    """
    results, answers = folder / "results.json", folder / "answers.jsonl"
    if not (results.is_file() and answers.is_file()):
        raise UserError(
            f"{folder}: no finished evaluation (results.json and answers.jsonl); run medmvl evaluate, and give the "
            "folder of one task where several were asked for"
        )
    lines = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    if any("question_type" not in line for line in lines):
        raise UserError(
            f"{answers}: lines without 'question_type', as of a version before 0.2; evaluate again"
        )
    about = json.loads(results.read_text(encoding="utf-8"))
    return Run(str(folder), about, {line["id"]: line for line in lines})


def compare_runs(runs: Sequence[Run], seed: int = 0) -> Comparison:
    """Compare every run with the first, paired by answer, for each group of questions.

    Raises:
        UserError: there are fewer than two runs, or they differ in samples or protocol.
    """
    if len(runs) < 2:
        raise UserError("a comparison needs two runs or more")
    base = runs[0]
    for run in runs[1:]:
        _check_same(base, run)
    groups: dict[tuple[str, str], list[str]] = {}
    for name, line in base.answers.items():
        group = f"{line['modality']} {line['question_type']} {line['language']}"
        groups.setdefault((group, line["metric"]), []).append(name)
    ordered = sorted(groups.items(), key=lambda item: (item[0][1], item[0][0]))  # as evaluate shows them
    found = [_pair(base, run, group, names, seed) for run in runs[1:] for group, names in ordered]
    adjusted = holm([pair.p for pair in found])
    pairs = tuple(Pair(**{**pair.__dict__, "p_holm": p}) for pair, p in zip(found, adjusted, strict=True))
    cluster = str(base.about.get("cluster", "sample"))
    few = [pair.group for pair in pairs if pair.difference.clusters < FEW_CLUSTERS]
    rough = f"fewer than {FEW_CLUSTERS} {several(cluster)} in {', '.join(dict.fromkeys(few))}: intervals are rough"
    others = [warning for run in runs[1:] for warning in _other_settings(base, run)]
    return Comparison(pairs, cluster, (*others, *([rough] if few else [])))


def _other_settings(base: Run, run: Run) -> list[str]:
    """A warning where more than the model differs, as far as both runs say how they were made."""
    before, after = _settings(base.about), _settings(run.about)
    shared = [name for name in before if name in after and before[name] != after[name]]
    named = [name if name == "data" else f"{name} ({before[name]} and {after[name]})" for name in shared]
    return [f"{base.name} and {run.name} differ in more than the model: {', '.join(named)}"] if named else []


def _settings(about: JsonObject) -> JsonObject:
    """What decides answers and verdicts next to the model: data by their digest, number type, token limit, version."""
    options, versions = about.get("options", {}), about.get("versions", {})
    return {
        **{name: about[name] for name in ("data", "dtype") if name in about},
        **{name: options[name] for name in ("max_new_tokens", "thinking") if name in options},
        **({"medmvl": versions["medmvl"]} if "medmvl" in versions else {}),
    }


def _check_same(base: Run, run: Run) -> None:
    names = f"{base.name} and {run.name}"
    protocols = base.about.get("protocol"), run.about.get("protocol")
    if protocols[0] != protocols[1]:
        raise UserError(f"{names} were judged by other protocols, {protocols[0]} and {protocols[1]}")
    missing = base.answers.keys() ^ run.answers.keys()
    if missing:
        raise UserError(
            f"{names} were asked other samples: {len(missing)} are in one of them only, such as "
            f"{min(missing)!r}. Evaluate both on the same data."
        )
    for name, line in base.answers.items():
        other = run.answers[name]
        changed = [key for key in _SAME if line.get(key) != other.get(key)]
        if changed:
            raise UserError(
                f"{names} disagree about the {changed[0]} of sample {name!r}; evaluate both again"
            )


def _pair(base: Run, run: Run, group: tuple[str, str], names: Sequence[str], seed: int) -> Pair:
    before = [float(base.answers[name]["score"]) for name in names]
    after = [float(run.answers[name]["score"]) for name in names]
    clusters = [base.answers[name]["cluster"] for name in names]
    differences = [b - a for a, b in zip(before, after, strict=True)]
    return Pair(
        run=run.name,
        base=base.name,
        group=group[0],
        metric=group[1],
        score=sum(after) / len(after),
        base_score=sum(before) / len(before),
        difference=difference_interval(after, before, clusters, seed=seed),
        p=sign_flip_p(differences, clusters, seed=seed),
        p_holm=1.0,
        detectable=detectable_difference(differences, clusters),
    )


def comparison_table(comparison: Comparison) -> Table:
    """The pairs for a terminal of 80 columns."""
    from rich import box
    from rich.table import Table

    first = comparison.pairs[0]
    caption = (
        f"95 % intervals over {several(comparison.cluster)}. p: sign flips by {comparison.cluster}, corrected for all rows "
        "(Holm). Could show: the smallest difference that these samples would mostly reveal."
    )
    table = Table(
        title=f"Against {first.base}", caption=caption, box=box.SIMPLE_HEAD, padding=0, pad_edge=False
    )
    table.add_column("question", no_wrap=True)
    for name in ("n", "first", "this", "difference", "p", "could\nshow"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in dict.fromkeys(pair.run for pair in comparison.pairs):
        table.add_section()
        table.add_row(f"[bold]{Path(run).parent.name}/{Path(run).name}[/bold]")
        for pair in (pair for pair in comparison.pairs if pair.run == run):
            d = pair.difference
            table.add_row(
                pair.group,
                str(d.n),
                f"{pair.base_score:.2f}",
                f"{pair.score:.2f}",
                f"{d.value:+.2f} \\[{d.low:+.2f}, {d.high:+.2f}]",
                f"{pair.p_holm:.3f}",
                "-" if pair.detectable is None else f"{pair.detectable:.2f}",
            )
    return table


def verdict(comparison: Comparison) -> str:
    """One sentence: which differences were shown, or that none was, which is not that there is none."""
    shown = [pair for pair in comparison.pairs if pair.p_holm < SHOWN]
    if not shown:
        return f"No difference was shown (Holm's p is {SHOWN} or more in every row), which does not mean that there is none."
    parts = [
        f"{pair.run} {'better' if pair.difference.value > 0 else 'worse'} at {pair.group}" for pair in shown
    ]
    return f"Shown against {comparison.pairs[0].base} (Holm's p below {SHOWN}): {'; '.join(parts)}."


def draw_comparison(comparison: Comparison, path: Path) -> None:
    """Draw the differences with their intervals into a PNG; filled where Holm's p is below 0.05."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    runs = list(dict.fromkeys(pair.run for pair in comparison.pairs))
    groups = list(dict.fromkeys((pair.group, pair.metric) for pair in comparison.pairs))
    figure = Figure(figsize=(8, 1.6 + 0.3 * len(comparison.pairs)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, run in enumerate(runs):
        for pair in (pair for pair in comparison.pairs if pair.run == run):
            place = groups.index((pair.group, pair.metric)) + 0.6 * (number + 0.5) / len(runs) - 0.3
            d, colour = pair.difference, f"C{number % 10}"
            axes.plot([d.low, d.high], [place, place], color=colour)
            shown = colour if pair.p_holm < SHOWN else "white"
            axes.plot(d.value, place, "o", color=colour, markerfacecolor=shown)
    for number, run in enumerate(runs):
        axes.plot([], [], "o-", color=f"C{number % 10}", label=run)
    axes.axvline(0, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(groups)), [f"{group} ({metric})" for group, metric in groups])
    axes.invert_yaxis()
    axes.set_xlabel(f"difference to {comparison.pairs[0].base} (filled: Holm's p < {SHOWN})")
    figure.legend(loc="outside upper left", fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        figure.savefig(file, dpi=120, format="png")

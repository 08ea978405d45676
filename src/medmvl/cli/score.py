"""`medmvl score`: judge answers that somebody has already got, by a named protocol and by `strict`, without a model."""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from medmvl.tasks.metrics.adapters import LLMJudge
    from medmvl.tasks.metrics.record import Record
    from medmvl.tasks.protocols import Protocol
    from medmvl.tasks.protocols.scoring import Score


def score(
    predictions: Annotated[
        Path, typer.Argument(help="JSON Lines: id, prediction, and references or --reference.")
    ],
    protocol: Annotated[
        str | None, typer.Option(help="Named convention; default: the task's, else strict.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Which samples of the reference data, and the default protocol.")
    ] = None,
    reference: Annotated[Path | None, typer.Option(help="Data with the truth, joined by id.")] = None,
    labeler: Annotated[
        str | None, typer.Option(help="Of findings: phantoms, ct-rate, chexpert, or a classifier's folder.")
    ] = None,
    tokenizer: Annotated[
        str, typer.Option(help="Of strict's BLEU, METEOR, CIDEr: words, 13a, zh, jieba, ...")
    ] = "words",
    bertscore: Annotated[Path | None, typer.Option(help="Folder of an encoder for BERTScore.")] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER of ratescore, green, radgraph or chexbert; may be repeated."),
    ] = None,
    judge: Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint of a judging model.")] = None,
    judge_model: Annotated[
        str | None, typer.Option(help="Its name; a key is read from MEDMVL_JUDGE_KEY.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder for score.json.")] = None,
) -> None:
    """Score predictions without a model; `strict` always stands beside a named protocol."""
    from medmvl.atomic_files import write_json
    from medmvl.datasets.public import find_task
    from medmvl.tasks.metrics.measures import MetricOptions
    from medmvl.tasks.protocols import STRICT, find_protocol

    chosen = find_protocol(protocol or (find_task(task).protocol if task else "strict"))
    records = _records(predictions, task, reference)
    options = MetricOptions(
        bertscore=bertscore,
        tokenizer=tokenizer,
        labeler=labeler,
        weights=_folders(weights or []),
        judge=_judge(judge, judge_model),
    )
    protocols = [chosen] if chosen is STRICT else [chosen, STRICT]
    cluster, clusters = _clusters(records)
    result: dict[str, Any] = {
        "predictions": predictions.name, "task": task, "records": len(records),
        "missing": sum(record.text is None for record in records), "cluster": cluster,
        "clusters": len(set(clusters)), "warnings": _warnings(cluster, clusters),
        "protocols": [_judged(records, each, options, clusters, seed) for each in protocols],
    }  # fmt: skip
    if out is not None:
        write_json(out / "score.json", result)
    if as_json:
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        _show(result)


def _records(predictions: Path, task: str | None, reference: Path | None) -> list[Record]:
    from medmvl.datasets.public import find_task
    from medmvl.errors import UserError
    from medmvl.tasks.protocols.predictions import join_predictions, read_predictions

    if reference is None:
        return read_predictions(predictions)
    from medmvl.data.sources import open_data

    samples = list(open_data(reference).samples)
    chosen = find_task(task).select(samples) if task else samples
    if not chosen:
        raise UserError(f"{reference}: none of its {len(samples)} samples belongs to task {task}")
    return join_predictions(predictions, chosen, (sample.id for sample in samples))


def _folders(weights: Sequence[str]) -> dict[str, Path]:
    from medmvl.errors import UserError
    from medmvl.tasks.metrics.adapters import ADAPTERS

    folders = {}
    for entry in weights:
        name, separator, folder = entry.partition("=")
        if not separator or name not in ADAPTERS:
            raise UserError(f"--weights {entry!r}: expected NAME=FOLDER with one of {', '.join(ADAPTERS)}")
        folders[name] = Path(folder)
    return folders


def _judge(endpoint: str | None, model: str | None) -> LLMJudge | None:
    from medmvl.errors import UserError
    from medmvl.tasks.metrics.adapters import LLMJudge

    if endpoint is None and model is None:
        return None
    if endpoint is None or model is None:
        raise UserError("a judge needs both --judge URL and --judge-model NAME")
    return LLMJudge(endpoint, model, os.environ.get("MEDMVL_JUDGE_KEY"))


def _judged(
    records: Sequence[Record], protocol: Protocol, options: Any, clusters: Sequence[str], seed: int
) -> dict[str, Any]:
    """All numbers of one protocol, as plain values."""
    from medmvl.tasks.protocols.scoring import score as run
    from medmvl.tasks.protocols.scoring import unscored

    return {
        "protocol": protocol.name, "title": protocol.title, "source": protocol.source,
        "quirks": list(protocol.quirks), "no_rule_for": unscored(records, protocol),
        "scores": [_row(score, clusters, seed) for score in run(records, protocol, options)],
    }  # fmt: skip


def _row(score: Score, clusters: Sequence[str], seed: int) -> dict[str, Any]:
    from medmvl.evaluation.protocols import score_interval

    measure = score.measure
    interval = score_interval(score, [clusters[place] for place in score.places], seed)
    return {
        "group": score.group, "form": score.form, "kind": score.kind, "language": score.language,
        "metric": measure.name, "note": measure.note, "value": _plain(measure.value),
        "low": _plain(interval.low) if interval else None, "high": _plain(interval.high) if interval else None,
        "interval": interval.method if interval else None, "corpus": _plain(measure.tally.corpus()),
        "sample_mean": _plain(measure.tally.sample_mean()), "n_scored": len(measure.scored), "n_total": measure.total,
    }  # fmt: skip


def _clusters(records: Sequence[Record]) -> tuple[str, list[str]]:
    """The coarsest identity that all records have."""
    for name in ("patient", "study", "image_group"):
        values = [getattr(record, name) for record in records]
        if all(value is not None for value in values):
            return name.replace("_", " "), values
    return "answer", [str(place) for place in range(len(records))]


def _warnings(name: str, clusters: Sequence[str]) -> list[str]:
    from medmvl.evaluation.statistics import FEW_CLUSTERS

    warnings = []
    if len(set(clusters)) < FEW_CLUSTERS:
        warnings.append(f"only {len(set(clusters))} {name}s: the intervals are rough")
    if name != "patient":
        warnings.append(
            f"not every record names its patient: intervals are over {name}s and may be too narrow"
        )
    return warnings


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _show(result: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for judged in result["protocols"]:
        table = Table(title=f"{judged['protocol']}: {judged['title']}", box=box.SIMPLE_HEAD, pad_edge=False)
        for name in ("what", "metric", "value", "of samples", "n"):
            table.add_column(name, justify="left" if name in ("what", "metric") else "right", no_wrap=True)
        seen: Counter[str] = Counter()
        for row in judged["scores"]:
            seen[row["group"]] += 1
            scored = (
                f"{row['n_scored']} of {row['n_total']}"
                if row["n_scored"] < row["n_total"]
                else str(row["n_total"])
            )
            what = row["group"] if seen[row["group"]] == 1 else ""
            table.add_row(what, row["metric"], _value(row), _number(row["sample_mean"]), scored)
        console.print(table)
        for form, count in judged["no_rule_for"].items():
            console.print(
                f"{judged['protocol']} has no rule for the {count} of form '{form}'", style="yellow"
            )
        for quirk in judged["quirks"]:
            console.print(f"- {quirk}", style="dim", highlight=False)
    if result["missing"]:
        console.print(f"{result['missing']} of {result['records']} have no prediction", style="yellow")
    for warning in result["warnings"]:
        console.print(f"Note: {warning}", style="yellow")


def _value(row: dict[str, Any]) -> str:
    if row["low"] is None:
        return _number(row["value"])
    return f"{_number(row['value'])} \\[{_number(row['low'])}, {_number(row['high'])}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

"""`medmvl score`: judge answers that somebody has already got, by a named protocol and by `strict`, without a model."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medmvl.cli.asking import listed
from medmvl.json_types import JsonObject

if TYPE_CHECKING:
    from medmvl.tasks.metrics.adapters import LLMJudge
    from medmvl.tasks.metrics.record import Record
    from medmvl.tasks.protocols import Protocol


Predictions = Annotated[
    Path, typer.Argument(help="JSON Lines: id, prediction, and references or --reference.")
]
ProtocolOption = Annotated[
    str, typer.Option(help="Published conventions, such as unimed,m3d; default: the task's, else strict.")
]
Task = Annotated[
    str | None, typer.Option(help="Which samples of the reference data, and the default protocol.")
]
Reference = Annotated[Path | None, typer.Option(help="Data with the truth, joined by id.")]
LabelerOption = Annotated[
    str | None,
    typer.Option(help="Labeler of findings: phantoms, ct-rate, chexpert, or a classifier's folder."),
]
TokenizerOption = Annotated[
    str, typer.Option(help="Tokenizer of strict's BLEU, METEOR, CIDEr: words, 13a, zh, jieba, ...")
]
Bertscore = Annotated[Path | None, typer.Option(help="Folder of an encoder for BERTScore.")]
Weights = Annotated[
    list[str] | None,
    typer.Option(help="NAME=FOLDER of ratescore, green, radgraph or chexbert; may be repeated."),
]
Judge = Annotated[str | None, typer.Option(help="OpenAI-compatible endpoint of a judging model.")]
JudgeModel = Annotated[str | None, typer.Option(help="Its name; a key is read from MEDMVL_JUDGE_KEY.")]
SeedOption = Annotated[int, typer.Option(help="Seed for the bootstrap.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Out = Annotated[Path | None, typer.Option(help="Folder for score.json.")]
Answers = Annotated[Path | None, typer.Option(help="File with one line per answer: id, verdict, score, why.")]


def score(
    predictions: Predictions,
    protocol: ProtocolOption = "",
    task: Task = None,
    reference: Reference = None,
    labeler: LabelerOption = None,
    tokenizer: TokenizerOption = "words",
    bertscore: Bertscore = None,
    weights: Weights = None,
    judge: Judge = None,
    judge_model: JudgeModel = None,
    seed: SeedOption = 0,
    as_json: AsJson = False,
    out: Out = None,
    answers: Answers = None,
) -> None:
    """Score predictions without a model; `strict` and `reader` are always shown next to a named protocol."""
    from medmvl.atomic_files import write_json
    from medmvl.datasets.public import find_task
    from medmvl.evaluation.scoring import score_records
    from medmvl.outputs import continued_file, continued_folder
    from medmvl.tasks.metrics.measures import MetricOptions
    from medmvl.tasks.protocols import find_protocol

    names = listed(protocol) or [find_task(task).protocol if task else "strict"]
    for name in names:
        find_protocol(name)
    records = _records(predictions, task, reference)
    options = MetricOptions(
        bertscore=bertscore,
        tokenizer=tokenizer,
        labeler=labeler,
        weights=_folders(weights or []),
        judge=_judge(judge, judge_model),
    )
    result = {"predictions": predictions.name, "task": task, **score_records(records, names, options, seed)}
    if answers is not None:
        with continued_file(answers):
            _write_answers(answers, find_protocol(names[0]), records)
    if out is not None:
        with continued_folder(out):
            write_json(out / "score.json", result)
    if as_json:
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        _show(result)


def _write_answers(path: Path, protocol: Protocol, records: Sequence[Record]) -> None:
    """A line per answer, in the order of the records."""
    from medmvl.atomic_files import atomic_write
    from medmvl.errors import UserError
    from medmvl.tasks.protocols import PROTOCOLS

    if protocol.judge is None:
        able = ", ".join(name for name, each in PROTOCOLS.items() if each.judge is not None)
        raise UserError(
            f"--answers: protocol {protocol.name} has no verdict on single answers; those that have: {able}"
        )
    with atomic_write(path) as file:
        for record in records:
            found = protocol.judge(record.without_reasoning())
            line = {"id": record.id, "verdict": found.verdict, "score": found.score, "why": found.why}
            file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


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


def _show(result: JsonObject) -> None:
    from rich.console import Console

    from medmvl.evaluation.number_table import number_table

    console = Console()
    for judged in result["protocols"]:
        title = f"{judged['protocol']}: {judged['title']}"
        table = number_table("what", ("value", "of samples", "n"), texts=["metric"], title=title)
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
        if judged["scores"]:
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


def _value(row: JsonObject) -> str:
    if row["low"] is None:
        return _number(row["value"])
    return f"{_number(row['value'])} \\[{_number(row['low'])}, {_number(row['high'])}]"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"

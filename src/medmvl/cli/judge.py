"""`medmvl judge`: how far two judges of the same answers agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Compare judges of answers.")


@app.callback()
def judge() -> None:
    """Compare judges of answers."""


@app.command("agreement")
def agreement(
    first: Annotated[Path, typer.Argument(help="JSON Lines: id and verdict, as `score --answers` writes.")],
    second: Annotated[
        Path, typer.Argument(help="The same answers by another judge; `verdicts` of several count, too.")
    ],
    first_judge: Annotated[str, typer.Option(help="Which of several `verdicts`, or majority.")] = "majority",
    second_judge: Annotated[str, typer.Option(help="Which of several `verdicts`, or majority.")] = "majority",
    seed: Annotated[int, typer.Option(help="Seed for the bootstrap.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Agreement and Cohen's kappa, over all answers and per category, with intervals over patients or cases."""
    from medmvl.evaluation.agreement import agree, read_verdicts

    one, two = read_verdicts(first, first_judge), read_verdicts(second, second_judge)
    found = agree(one, two, seed)
    alone = len(one.right.keys() ^ two.right.keys())
    if as_json:
        result = {
            "first": one.name, "second": two.name, "judged_by_one_only": alone,
            "undecided": [one.undecided, two.undecided], "groups": [group.to_json() for group in found],
        }  # fmt: skip
        typer.echo(json.dumps(result, indent=2, ensure_ascii=False))
        return
    from rich.console import Console

    from medmvl.evaluation.number_table import number_table

    table = number_table("answers", ("n", "agreement", "kappa", "right by\nfirst", "right by\nsecond"))
    for group in found:
        shares = (f"{group.right_first:.3f}", f"{group.right_second:.3f}")
        intervals = [f"{i.value:.3f} \\[{i.low:.3f}, {i.high:.3f}]" for i in (group.agreement, group.kappa)]
        table.add_row(group.group, str(group.agreement.n), *intervals, *shares)
    console = Console()
    console.print(table)
    if alone:
        console.print(f"{alone} answers were judged by one of the two only", style="yellow")
    if one.undecided or two.undecided:
        console.print(f"without a verdict: {one.undecided} and {two.undecided}", style="yellow")

"""`medmvl compare`: runs on the same samples, paired, with permutation tests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders of medmvl evaluate; all against the first.")],
    out: Annotated[Path | None, typer.Option(help="Folder for compare.json and compare.png.")] = None,
    seed: Annotated[int, typer.Option(help="Seed for the bootstrap and the permutations.")] = 0,
) -> None:
    """Compare evaluations of the same samples by the same protocol: paired by answer, by patient."""
    from rich.console import Console

    from medmvl.evaluation.compare import compare_runs, comparison_table, draw_comparison, read_run, verdict
    from medmvl.outputs import continued_folder

    comparison = compare_runs([read_run(folder) for folder in runs], seed)
    console = Console()
    console.print(comparison_table(comparison))
    console.print(verdict(comparison))
    for warning in comparison.warnings:
        console.print(f"Note: {warning}", style="yellow")
    if out is not None:
        with continued_folder(out):
            comparison.save(out / "compare.json")
            draw_comparison(comparison, out / "compare.png")
        console.print(f"compare.json, compare.png in {out}")

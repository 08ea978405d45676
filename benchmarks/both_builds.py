"""Run one measurement of a benchmark with today's build and with that of an earlier commit, turn by turn.

The benchmark calls itself once per side with `--side` and prints one JSON object as its last line.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BEFORE = "295bc4a"


def before(folder: Path) -> Path:
    """The source folder of the earlier build, taken out of this repository's history."""
    archive = subprocess.run(["git", "archive", BEFORE, "src"], cwd=ROOT, capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return folder / "src"


def in_turns(
    script: str, sides: Sequence[str], repeats: int, options: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """The medians of every number that each side prints; the side `before` runs with the earlier build."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as name:
        earlier = before(Path(name))
        for _ in range(repeats):
            for side in sides:
                source = earlier if side == "before" else ROOT / "src"
                done = subprocess.run(
                    [sys.executable, script, *options, "--side", side],
                    env={**os.environ, "PYTHONPATH": str(source)}, stdout=subprocess.PIPE, text=True, check=True,
                )  # fmt: skip
                found[side].append(json.loads(done.stdout.splitlines()[-1]))
    return {
        side: {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        for side, runs in found.items()
    }


def print_table(found: dict[str, dict[str, Any]], ratios: Sequence[str], to: str = "now") -> None:
    """One line per side, then what each needs of what `to` needs."""
    for side, row in found.items():
        print(f"{side:<14}" + "".join(f"{key} {value:>10.4g}   " for key, value in row.items()))
    for side, row in found.items():
        if side != to:
            print(
                f"{side} / {to}: " + ", ".join(f"{key} {row[key] / found[to][key]:.2f}" for key in ratios),
                flush=True,
            )

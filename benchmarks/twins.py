"""Fifty steps of tiny twins with what was made faster on and off: losses side by side, and those of 295bc4a.

Each side trains the recipe from the same seed in a process of its own, with an empty cache: today's build as it is; without
kept features; with kept pixels; packed where a stage learns language; and the earlier build, which pads with a mask, keeps
nothing and computes its loss at once. Today's cache must not change a digit; the others may differ by rounding, which training
magnifies.
Exit code 1 where a loss differs by more than its tolerance (relative).

    python benchmarks/twins.py [--recipes medm-vl-2d-tiny medm-vl-ct-chest-tiny] [--steps 50]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import both_builds

from medmvl.training.recipe_files import load_recipe

TOLERANCES = {"features off": 0.0, "pixels kept": 0.0, "packed": 1e-4, "before": 1e-4}


def changes_of(recipe: str, steps: int) -> dict[str, list[str]]:
    """The changes to a recipe that each side makes."""
    stages = load_recipe(recipe).stages
    short = [f"stages.{at}.max_steps={max(1, steps // len(stages))}" for at in range(len(stages))]
    short += [f"stages.{at}.log_steps=1" for at in range(len(stages))]
    packed = [f"stages.{at}.pack=true" for at, stage in enumerate(stages) if stage.objective == "lm"]
    return {
        "now": short, "features off": [*short, "data.features=false"], "pixels kept": [*short, "data.prepared=true"],
        "packed": [*short, *packed], "before": short,
    }  # fmt: skip


def losses(recipe: str, changes: list[str], source: Path, folder: Path) -> list[float]:
    """The training losses of one side, step by step."""
    environment = {**os.environ, "PYTHONPATH": str(source), "MEDMVL_CACHE": str(folder / "cache")}
    arguments = [sys.executable, "-m", "medmvl", "train", recipe, *changes, "--out", str(folder / "run")]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    records = map(json.loads, (folder / "run" / "history.jsonl").read_text().splitlines())
    return [record["loss"] for record in records if "loss" in record]


def main() -> None:
    """Train all sides and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", nargs="+", default=["medm-vl-2d-tiny", "medm-vl-ct-chest-tiny"])
    parser.add_argument("--steps", type=int, default=50)
    options = parser.parse_args()
    failed = False
    for recipe in options.recipes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            earlier = both_builds.before(folder)
            found = {}
            for side, changes in changes_of(recipe, options.steps).items():
                source = earlier if side == "before" else both_builds.ROOT / "src"
                (folder / side).mkdir()
                found[side] = losses(recipe, changes, source, folder / side)
        print(f"{recipe}: {len(found['now'])} losses, {found['now'][0]:.6f} to {found['now'][-1]:.6f}")
        for side, allowed in TOLERANCES.items():
            off = max(abs(a - b) / abs(a) for a, b in zip(found["now"], found[side], strict=True))
            failed |= off > allowed
            print(
                f"  {side:<14}largest difference {off:.2e}, allowed {allowed:.0e}{' FAILED' * (off > allowed)}"
            )
    sys.exit(failed)


if __name__ == "__main__":
    main()

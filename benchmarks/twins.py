"""Fifty steps of every tiny twin with what was made faster on and off: losses side by side, and those of 295bc4a.

Each side trains the recipe from the same seed on the same phantoms, with nothing else in its cache: today's build as it is;
without kept features; with kept pixels; with a mask in its batches; with the loss at once, as the LLM's own head gives it; with
a loss in chunks of a few rows; packed where a stage learns language; and the earlier build, which pads with a mask, keeps
nothing and computes its loss at once. Today's cache must not change a digit; the others may differ by rounding, which training
magnifies. Sides of today are forks of one process, so that they cost no imports.
Exit code 1 where a loss differs by more than its tolerance (relative).

    python benchmarks/twins.py [--recipes medm-vl-2d-tiny medm-vl-ct-chest-tiny] [--steps 50] [--without before]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import both_builds

sys.path.insert(0, str(both_builds.ROOT))

from tests.factories.forks import fork_medmvl

from medmvl.models import answer_loss, answer_output
from medmvl.training import run, stage
from medmvl.training.recipe_files import load_recipe

assert run  # imported before forking
ROUNDING = 1e-4
TOLERANCES = {
    "features off": 0.0, "pixels kept": 0.0, "masked": ROUNDING, "loss at once": ROUNDING, "loss in chunks": ROUNDING,
    "packed": ROUNDING, "before": ROUNDING,
}  # fmt: skip
FEW_ROWS = 16 << 10
"""Bytes of a chunk's logits: eight rows at a vocabulary of 512."""


def twins() -> list[str]:
    """The recipes that are tiny twins."""
    return sorted(file.stem for file in (both_builds.ROOT / "src/medmvl/recipes").glob("*-tiny.yaml"))


def changes_of(recipe: str, steps: int) -> dict[str, list[str]]:
    """The changes to a recipe that each side makes."""
    stages = load_recipe(recipe).stages
    short = [f"stages.{at}.max_steps={max(1, steps // len(stages))}" for at in range(len(stages))]
    short += [f"stages.{at}.log_steps=1" for at in range(len(stages))]
    packed = [f"stages.{at}.pack=true" for at, stage in enumerate(stages) if stage.objective == "lm"]
    found = dict.fromkeys(("now", *TOLERANCES), short)
    return found | {
        "features off": [*short, "data.features=false"], "pixels kept": [*short, "data.prepared=true"],
        "packed": [*short, *packed],
    }  # fmt: skip


def _masked() -> None:
    stage.is_purely_causal = lambda *_: False


def _at_once() -> None:
    answer_output.head_of = lambda _: None


def _in_chunks() -> None:
    answer_loss.CHUNK_BYTES["cpu"] = FEW_ROWS


SWITCHES: dict[str, Callable[[], None]] = {
    "masked": _masked, "loss at once": _at_once, "loss in chunks": _in_chunks
}  # fmt: skip


def losses(recipe: str, changes: list[str], side: str, folder: Path, earlier: Path) -> list[float]:
    """The training losses of one side, step by step."""
    folder.mkdir()
    made = folder.parent / "now" / "cache" / "phantoms"
    if made.exists() and side != "before":
        shutil.copytree(made, folder / "cache" / "phantoms")
    arguments = ["train", recipe, *changes, "--out", str(folder / "run")]
    environment = {**os.environ, "PYTHONPATH": str(earlier), "MEDMVL_CACHE": str(folder / "cache")}
    log = folder / "log"
    if side == "before":
        with log.open("w") as said:
            command = [sys.executable, "-m", "medmvl", *arguments]
            code = subprocess.run(command, env=environment, stdout=said, stderr=said, check=False).returncode
    else:

        def before() -> None:
            os.environ["MEDMVL_CACHE"] = environment["MEDMVL_CACHE"]
            SWITCHES.get(side, lambda: None)()

        code = os.waitstatus_to_exitcode(os.waitpid(fork_medmvl(arguments, log, before=before), 0)[1])
    if code:
        sys.exit(log.read_text()[-3000:])
    records = map(json.loads, (folder / "run" / "history.jsonl").read_text().splitlines())
    return [record["loss"] for record in records if "loss" in record]


def main() -> None:
    """Train all sides and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipes", nargs="+", default=twins())
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--without", nargs="+", choices=TOLERANCES, default=[])
    options = parser.parse_args()
    failed = False
    for recipe in options.recipes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            earlier = both_builds.before(folder)
            found = {
                side: losses(recipe, changes, side, folder / side, earlier)
                for side, changes in changes_of(recipe, options.steps).items()
                if side not in options.without
            }
        now = found.pop("now")
        print(f"{recipe}: {len(now)} losses, {now[0]:.6f} to {now[-1]:.6f}")
        for side, others in found.items():
            allowed = TOLERANCES[side]
            off = max(abs(a - b) / abs(a) for a, b in zip(now, others, strict=True))
            failed |= off > allowed
            print(
                f"  {side:<15}largest difference {off:.2e}, allowed {allowed:.0e}{' FAILED' * (off > allowed)}",
                flush=True,
            )
    sys.exit(failed)


if __name__ == "__main__":
    main()

"""Kill every command that writes at random moments, run it again, and compare with a run that was never killed.

    python benchmarks/kills.py [--kills 20] [--only train,convert] [--seed 0]

Half of the moments are drawn from the time that an undisturbed run takes, half from the writes that it makes. What is left
must be equal file by file, hidden ones included; times are left out (`tests/factories/kills.py`). Run it from the
root of a clone: it uses the tests' factories.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.factories.kill_inputs import CACHE_IS_OUTPUT, COMMANDS, prepare
from tests.factories.kills import contents, finish, kill_after, start

PRELOADED = (
    "transformers", "peft", "accelerate", "medmvl.training.run", "medmvl.evaluation.html", "medmvl.experiments.run",
    "medmvl.exchange.export", "medmvl.exchange.formats", "medmvl.reporting.run", "highdicom",
    "matplotlib.figure", "medmvl.cli.evaluate", "medmvl.evaluation.compare", "medmvl.evaluation.scoring",
    "medmvl.rewards.pairs", "rich.table",
)  # fmt: skip


def main() -> None:
    """Say, for each command, how many kills it met and how many reruns gave the same output."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--only", default="")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name] or list(COMMANDS)
    with tempfile.TemporaryDirectory(prefix="medmvl-kills-") as folder:
        root = Path(folder)
        os.environ["MEDMVL_CACHE"] = str(root / "cache")
        inputs = prepare(root / "inputs")
        for module in PRELOADED:
            importlib.import_module(module)
        failed = [name for name in names if not _try(name, COMMANDS[name](inputs), root / name, options)]
    sys.exit(f"not finished by the same command: {', '.join(failed)}" if failed else 0)


def _try(name: str, command: Callable[[Path], list[str]], folder: Path, options: argparse.Namespace) -> bool:
    """Kill one command `options.kills` times."""
    drawn = random.Random(f"{options.seed} {name}")
    whole = folder / "whole"
    whole.mkdir(parents=True)
    log, count = folder / "log", folder / "count"
    warm = folder / "warm"
    warm.mkdir()

    def own_cache(output: Path) -> Path | None:
        return output if name in CACHE_IS_OUTPUT else None

    assert finish(start(command(warm), log, cache=own_cache(warm))) == 0, log.read_text()  # caches are filled
    began = time.monotonic()
    assert finish(start(command(whole), log, count=count, cache=own_cache(whole))) == 0, log.read_text()
    seconds, writes = time.monotonic() - began, int(count.read_text())
    wanted = contents(whole)
    met = same = 0
    for number in range(options.kills):
        trial = folder / f"{number:02d}"
        trial.mkdir()
        cache = own_cache(trial)
        if number % 2:
            moment = drawn.uniform(0, seconds)
            code, said = kill_after(start(command(trial), log, cache=cache), moment), f"after {moment:.2f} s"
        else:
            write = drawn.randint(1, writes)
            code, said = (
                finish(start(command(trial), log, kill_at=write, cache=cache)),
                f"at write {write} of {writes}",
            )
        met += code == -9
        again = finish(start(command(trial), log, cache=cache))
        found = contents(trial)
        if again == 0 and found == wanted:
            same += 1
        else:
            differing = sorted(n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n))
            print(f"  {name} {said}: exit {again}, differs: {differing[:8]}", flush=True)
            print("    " + log.read_text()[-600:].replace("\n", "\n    "), flush=True)
    print(
        json.dumps({"command": name, "seconds": round(seconds, 2), "writes": writes, "killed": met,
                    "reruns": options.kills, "finished equal": same}), flush=True,
    )  # fmt: skip
    return same == options.kills


if __name__ == "__main__":
    main()

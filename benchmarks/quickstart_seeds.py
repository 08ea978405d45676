"""Claim: every closed question of the quickstart reaches its bar on unseen patients, whatever the seed and the threads.

Every run trains with a seed of its own, on phantoms of a seed of their own, and is asked about the same unseen patients as
`make quickstart` (phantoms of seed 1, which no run trains on). Minutes a run, about one core each:

    python benchmarks/quickstart_seeds.py --out runs/seeds                            # seeds 0 to 4, one thread each
    python benchmarks/quickstart_seeds.py --out runs/seeds --seeds 0 --threads 2 4    # one seed with 2 and with 4 threads
    python benchmarks/quickstart_seeds.py --out runs/seeds --summary                  # the table of all runs in the folder

A finished run is not repeated; a stopped one continues.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from medmvl.training.recipe_files import resolve

UNSEEN_SEED = 1
UNSEEN = ("--patients", "480", "--seed", str(UNSEEN_SEED), "--splits", "40,0,440")
BAR = 0.95


class Run(NamedTuple):
    """One training with what makes it different from the others."""

    seed: int
    threads: int

    @property
    def name(self) -> str:
        """The run's folder."""
        return f"seed-{self.seed}-threads-{self.threads}"

    @property
    def data_seed(self) -> int:
        """Of the phantoms it trains on: never that of the unseen ones."""
        return self.seed + (self.seed >= UNSEEN_SEED)


def main() -> None:
    """Train and evaluate the runs, then print the lowest and the middle score of every type of question."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--together", type=int, default=1, help="runs side by side")
    parser.add_argument("--recipe", default="quickstart", help="a shipped recipe or a file")
    parser.add_argument("--summary", action="store_true", help="train nothing, print the table")
    arguments = parser.parse_args()
    if not arguments.summary:
        recipe = resolve(arguments.recipe)
        prepare(arguments.out)
        runs = [Run(*pair) for pair in product(arguments.seeds, arguments.threads)]
        with ThreadPoolExecutor(arguments.together) as pool:
            list(pool.map(lambda run: execute(run, recipe, arguments.out), runs))
    summarise(arguments.out)


def prepare(out: Path) -> None:
    """Draw the unseen patients once."""
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "unseen").exists():
        medmvl(out / "unseen.log", 1, "phantoms", out / "unseen", *UNSEEN)


def execute(run: Run, recipe: dict[str, Any], out: Path) -> None:
    """Train and evaluate one run in processes of its own."""
    folder = out / run.name
    folder.mkdir(exist_ok=True)
    file = folder / "quickstart.yaml"
    file.write_text(yaml.safe_dump(with_seeds(recipe, run) | {"seed": run.seed}, allow_unicode=True))
    log = folder / "log.txt"
    training = medmvl(log, run.threads, "train", file, "--out", folder / "run")
    evaluation = medmvl(
        log, run.threads, "evaluate", folder / "run/model", "--data", out / "unseen/test.jsonl", "--no-controls",
        "--bar", str(BAR), "--out", folder / "evaluation",
    )  # fmt: skip
    seconds = {"train_cpu_s": round(training, 1), "evaluate_cpu_s": round(evaluation, 1)}
    if training > 60:  # else it was finished before
        (folder / "seconds.json").write_text(json.dumps(seconds))
    print(f"{run.name}: {seconds}", flush=True)


def with_seeds(value: Any, run: Run) -> Any:
    """The recipe with the seed of every source of phantoms set."""
    if isinstance(value, list):
        return [with_seeds(item, run) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: with_seeds(item, run) for key, item in value.items()}
    if "phantoms" in changed:
        changed["phantoms"] = {**changed["phantoms"], "seed": run.data_seed}
    return changed


def medmvl(log: Path, threads: int, *words: str | Path) -> float:
    """Run the command and return its CPU seconds; what it prints goes to `log`."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    for name in ("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"):  # as the Makefile does
        environment.setdefault(name, "4294967296")
    command = [sys.executable, "-m", "medmvl", *map(str, words)]
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with {process.returncode}; see {log}")
    return usage.ru_utime + usage.ru_stime


def summarise(out: Path) -> None:
    """Print a line per type of question and language: number of runs, lowest, middle, and which run was the lowest."""
    found: dict[tuple[str, str, str, str], list[tuple[float, str]]] = defaultdict(list)
    for name, row in rows(out):
        key = (row["metric"], row["modality"], row["question_type"], row["language"])
        found[key].append((row["score"]["value"], name))
    short = 0
    for (metric, modality, question_type, language), scores in sorted(found.items()):
        scores.sort()
        below = sum(value < BAR for value, _ in scores) if metric == "accuracy" else 0
        short += below
        (lowest, name), middle = scores[0], scores[len(scores) // 2][0]
        print(
            f"{metric:10} {modality:3} {question_type:20} {language:3} runs {len(scores):2}  lowest {lowest:.4f} ({name})  "
            f"middle {middle:.4f}" + (f"  below {BAR}: {below}" if below else "")
        )
    print(f"{short} scores of closed questions below {BAR}")
    for file in sorted(out.glob("*/seconds.json")):
        print(f"{file.parent.name}: {json.loads(file.read_text())}")


def rows(out: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every row of every finished evaluation, with the run's name."""
    for file in sorted(out.glob("*/evaluation/results.json")):
        for row in json.loads(file.read_text())["rows"]:
            yield file.parent.parent.name, row


if __name__ == "__main__":
    main()

"""CPU seconds from a command to its answer: today's build beside the commit before paths were checked first (295bc4a).

The other side is taken out of this repository's history and run from a folder of its own. The sides take turns in one run; what
counts is user and system time of the process, as wall time on a shared machine says little. `generate` answers with a tiny
random model, so that nearly all of it is imports.

    python benchmarks/startup.py [--repeats 3]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import both_builds
import numpy as np


def commands(folder: Path, side: str) -> dict[str, list[str]]:
    """What is started; the model and the scan lie in `folder`. Before, the model was an option."""

    def named(model: str) -> list[str]:
        return ["--model", str(folder / model)] if side == "before" else [str(folder / model)]

    ask = ["--prompt", "Any nodule?", "--volume", str(folder / "scan.npy"), "--max-new-tokens", "4"]
    return {
        "--help": ["--help"],
        "recipe list": ["recipe", "list"],
        "an unknown recipe": ["train", "quickstar"],
        "an unknown task": ["evaluate", *named("model"), "--tasks", "heartsize", "--data", "d", "--out", "x"],
        "no model": ["generate", *named("gone"), *ask],
        "generate": ["generate", *named("model"), *ask],
    }


def cpu_seconds(source: Path, arguments: list[str]) -> float:
    """User and system seconds of one run of the command line, and of what it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "medmvl", *arguments],
        env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, check=False,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare(folder: Path) -> dict[str, Path]:
    """Write model, scan and the old build, and return the source folder of each side."""
    sys.path.insert(0, str(both_builds.ROOT))
    from tests.factories.engine import save_tiny_model

    save_tiny_model(folder / "model")
    np.save(folder / "scan.npy", np.random.default_rng(0).integers(-1000, 400, (8, 32, 32)).astype(np.int16))
    (folder / "before").mkdir()
    return {"before": both_builds.before(folder / "before"), "now": both_builds.ROOT / "src"}


def main() -> None:
    """Measure and print a table, then JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as name:
        sides = prepare(Path(name))
        found: dict[str, dict[str, float]] = {}
        asked = {side: commands(Path(name), side) for side in sides}
        for what in asked["now"]:
            for side, source in sides.items():
                cpu_seconds(source, asked[side][what])  # compiles, and fills the disk's cache
            runs = [
                {side: cpu_seconds(source, asked[side][what]) for side, source in sides.items()}
                for _ in range(repeats)
            ]
            found[what] = {side: round(statistics.median(run[side] for run in runs), 2) for side in sides}
            print(
                f"{what:20}" + "".join(f"{side}: {found[what][side]:6.2f} s   " for side in sides), flush=True
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()

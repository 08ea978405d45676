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

VIT = {"width": 16, "num_layers": 1, "num_heads": 2}
RECIPE = {
    "llm": {
        "config": {
            "model_type": "qwen2", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 512,
        },
        "tokenizer_vocab_size": 300, "chat_template": "plain",
    },
    "volume_encoder": {"type": "vit3d", "size": [8, 32, 32], "patch_size": [4, 16, 16], **VIT},
    "volume_connector": {"type": "mlp"}, "volume_processor": {"size": [8, 32, 32]}, "max_length": 512,
}  # fmt: skip
MAKE_MODEL = f"""
import transformers.models.auto.modeling_auto
from medmvl.models.assemble import ModelRecipe, assemble
for part in assemble(ModelRecipe.model_validate({RECIPE!r}), texts=["Any nodule? Yes."], seed=0):
    part.save_pretrained("model")
"""
FINE, REFUSED = 0, 2


def commands(folder: Path, side: str) -> dict[str, tuple[int, list[str]]]:
    """What is started, with its exit code; models and scan lie in `folder`. Before, the model was an option."""

    def named(model: str) -> list[str]:
        path = str(folder / side / model)
        return ["--model", path] if side == "before" else [path]

    ask = ["--prompt", "Any nodule?", "--volume", str(folder / "scan.npy"), "--max-new-tokens", "4"]
    unknown_task = ["--tasks", "heartsize", "--data", "d", "--out", "x"]
    return {
        "--help": (FINE, ["--help"]),
        "recipe list": (FINE, ["recipe", "list"]),
        "an unknown recipe": (REFUSED, ["train", "quickstar"]),
        "an unknown task": (REFUSED, ["evaluate", *named("model"), *unknown_task]),
        "no model": (REFUSED, ["generate", *named("gone"), *ask]),
        "generate": (FINE, ["generate", *named("model"), *ask]),
    }


def cpu_seconds(source: Path, code: int, arguments: list[str]) -> float:
    """User and system seconds of one run of the command line, and of what it starts; it must end with `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "medmvl", *arguments],
        env={**os.environ, "PYTHONPATH": str(source)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != code:
        raise SystemExit(f"{' '.join(arguments)} with {source} ended with {done.returncode}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def prepare(folder: Path) -> dict[str, Path]:
    """Write the scan, the old build and a model by each, and return the source folder of each side."""
    np.save(folder / "scan.npy", np.random.default_rng(0).integers(-1000, 400, (8, 32, 32)).astype(np.int16))
    for side in ("before", "now"):
        (folder / side).mkdir()
    sources = {"before": both_builds.before(folder / "before"), "now": both_builds.ROOT / "src"}
    for side, source in sources.items():
        environment = {**os.environ, "PYTHONPATH": str(source)}
        subprocess.run([sys.executable, "-c", MAKE_MODEL], cwd=folder / side, env=environment, check=True)
    return sources


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
                cpu_seconds(source, *asked[side][what])  # compiles, and fills the disk's cache
            runs = [
                {side: cpu_seconds(source, *asked[side][what]) for side, source in sides.items()}
                for _ in range(repeats)
            ]
            found[what] = {side: round(statistics.median(run[side] for run in runs), 2) for side in sides}
            print(
                f"{what:20}" + "".join(f"{side}: {found[what][side]:6.2f} s   " for side in sides), flush=True
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()

"""Epochs of stages with a frozen encoder: today's build with its cache of features beside the commit before it (295bc4a).

Both sides train the same recipe on the same scans with the same seed, one after the other in processes of their own, with an
empty cache folder each. An epoch is the time between its first and its last step, reading included; the first one of today's
build writes the cache. What counts are CPU seconds of the process, as wall time on a shared machine says little.

    python benchmarks/feature_cache.py [--cases slices medm_clip image] [--size small] [--epochs 3] [--scans 4]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import both_builds
import numpy as np
from PIL import Image

BATCH = 2
DRIVER = """
import json, sys, time
from pathlib import Path
from medmvl.training import trainer
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import train

marks = []
step, order = trainer.StageTrainer.training_step, trainer.TrainingOrder.__iter__

def mark():
    marks.append((time.process_time(), time.perf_counter()))

def timed(self, *args, **more):
    loss = step(self, *args, **more)
    losses.append(float(loss.detach()))
    mark()
    return loss

def begun(self):
    if not marks:
        mark()
    return order(self)

losses = []
trainer.StageTrainer.training_step, trainer.TrainingOrder.__iter__ = timed, begun
train(parse_recipe(json.loads(Path(sys.argv[1]).read_text()), "benchmark"), Path(sys.argv[2]))
print("MARKS", json.dumps([marks, losses]))
"""
SIZES: dict[str, dict[str, Any]] = {
    "full": {"width": 768, "layers": 12, "heads": 12, "clip": [32, 256, 256], "llm": (512, 1536, 12), "scans": 4, "images": 12},
    "small": {"width": 384, "layers": 6, "heads": 6, "clip": [32, 256, 256], "llm": (256, 768, 8), "scans": 2, "images": 8},
    "tiny": {"width": 64, "layers": 2, "heads": 2, "clip": [16, 64, 64], "llm": (64, 128, 2), "scans": 4, "images": 16},
}  # fmt: skip
"""`full` is a tower of 86 M weights next to an LLM of about 44 M; `small` has about an eighth of both."""


def model_of(case: str, size: dict[str, Any]) -> dict[str, Any]:
    """The model of a case as a recipe names it."""
    width, layers, heads = size["width"], size["layers"], size["heads"]
    hidden, inner, depth = size["llm"]
    tower = {
        "model_type": "siglip_vision_model", "hidden_size": width, "intermediate_size": 4 * width, "num_channels": 3,
        "num_hidden_layers": layers, "num_attention_heads": heads, "image_size": 224, "patch_size": 16,
    }  # fmt: skip
    siglip = {"type": "hf_vision", "config": tower, "layer": -1}
    llm = {
        "model_type": "qwen2", "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": depth,
        "num_attention_heads": hidden // 32, "num_key_value_heads": hidden // 64, "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    }  # fmt: skip
    parts: dict[str, Any] = {"llm": {"tokenizer_vocab_size": 500, "config": llm}, "max_length": 1024}
    if case == "image":
        return parts | {
            "image_encoder": siglip, "image_connector": {"type": "mlp"},
            "image_processor": {"size": [224, 224], "channels": 3, "mean": [0.5], "std": [0.5]},
        }  # fmt: skip
    if case == "slices":
        return parts | {
            "volume_encoder": {"type": "slices", "encoder": siglip, "chunk_slices": 16},
            "volume_connector": {"type": "attention_pooling", "num_queries": 256, "num_heads": 8},
            "volume_processor": {"size": [32, 224, 224], "windows": ["full"]},
        }  # fmt: skip
    return parts | {
        "volume_encoder": {
            "type": "medm_clip", "size": size["clip"], "patch_size": [4, 16, 16], "width": width, "num_layers": layers,
            "num_heads": heads, "mlp_width": 4 * width,
        },
        "volume_connector": {"type": "spatial_pooling", "factors": [2, 2, 2]},
        "volume_processor": {"size": size["clip"], "windows": ["full"]},
    }  # fmt: skip


def write_data(folder: Path, case: str, size: dict[str, Any]) -> Path:
    """Scans of noise with a question and an answer each."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(size["images"] if case == "image" else size["scans"]):
        if case == "image":
            Image.fromarray(rng.integers(0, 255, (224, 224), dtype=np.uint8)).save(folder / f"{number}.png")
            block: dict[str, Any] = {"type": "image", "image": f"{number}.png"}
        else:
            shape = (32, 224, 224) if case == "slices" else size["clip"]
            np.save(folder / f"{number}.npy", rng.integers(-1000, 400, shape).astype(np.int16))
            block = {"type": "volume", "volume": f"{number}.npy", "units": "HU", "spacing_mm": [5, 1, 1]}
        question = {"type": "text", "text": "Describe the findings of this examination."}
        answer = {
            "type": "text",
            "text": f"No nodule number {number} is seen; the heart is of normal size. " * 2,
        }
        messages = [
            {"role": "user", "content": [block, question]},
            {"role": "assistant", "content": [answer]},
        ]
        lines.append(json.dumps({"id": f"s{number}", "messages": messages}))
    (folder / "data.jsonl").write_text("\n".join(lines))
    return folder / "data.jsonl"


def epochs_of(
    source: Path, recipe: Path, folder: Path, num_epochs: int
) -> tuple[list[tuple[float, float]], list[float]]:
    """CPU and wall seconds of every epoch of a training by one side, and the losses of its steps."""
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(source), "MEDMVL_CACHE": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(recipe), str(folder / "run")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    line = next(line for line in done.stdout.splitlines() if line.startswith("MARKS "))
    marks, losses = json.loads(line.removeprefix("MARKS "))
    count = (len(marks) - 1) // num_epochs
    ends = [marks[number * count] for number in range(num_epochs + 1)]
    return [(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(ends)], losses


def floor(cache: Path) -> tuple[float, float]:
    """MiB of the features that an epoch reads, and the CPU seconds of reading and checking them alone."""
    files = list(cache.glob("features/*/*"))
    began = time.process_time()
    for file in files:
        zlib.crc32(file.read_bytes())
    return sum(file.stat().st_size for file in files) / 2**20, time.process_time() - began


def measure(
    case: str, size: dict[str, Any], sides: dict[str, Path], folder: Path, repeats: int, num_epochs: int
) -> dict[str, Any]:
    """Ratios of one case: later epochs of both sides, and the first."""
    folder.mkdir()
    stage = {
        "name": "align", "parts": {"image_connector" if case == "image" else "volume_connector": "full"}, "epochs": num_epochs,
        "batch_size": BATCH, "learning_rate": 1e-3, "group": "none", "log_steps": 100, "save_steps": 1000,
        "precision": "float32",
    }  # fmt: skip
    document = {
        "model": model_of(case, size),
        "data": {"train": [{"path": str(write_data(folder, case, size))}]},
        "stages": [stage],
    }
    recipe = folder / "recipe.json"
    recipe.write_text(json.dumps(document))
    found: dict[str, list[Any]] = {side: [] for side in sides}
    losses: dict[str, list[float]] = {}
    for number in range(repeats):
        for side, source in sides.items():
            epochs, losses[side] = epochs_of(source, recipe, folder / f"{side}{number}", num_epochs)
            found[side].append(epochs)
    mebibytes, least = floor(folder / "now0" / "cache")

    def seconds(side: str, kind: int, chosen: slice) -> float:
        return statistics.median(epoch[kind] for epochs in found[side] for epoch in epochs[chosen])

    later, first = slice(1, None), slice(0, 1)
    return {
        "later epochs, CPU": [round(seconds(side, 0, later), 3) for side in sides],
        "later epochs, ratio of CPU": round(seconds("before", 0, later) / seconds("now", 0, later), 2),
        "later epochs, ratio of wall": round(seconds("before", 1, later) / seconds("now", 1, later), 2),
        "first epoch, CPU now to before": round(seconds("now", 0, first) / seconds("before", 0, first), 3),
        "features, MiB": round(mebibytes, 1),
        "floor: reading them, CPU": round(least, 3),
        "largest difference of a loss": max(
            abs(a - b) for a, b in zip(losses["before"], losses["now"], strict=True)
        ),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", nargs="+", default=["slices", "medm_clip", "image"])
    parser.add_argument("--size", choices=list(SIZES), default="small")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=3, help="two at least")
    parser.add_argument(
        "--scans", type=int, help="volumes or images, an even number; default: as the size says"
    )
    chosen = parser.parse_args()
    size = SIZES[chosen.size]
    if chosen.scans is not None:
        size = {**size, "scans": chosen.scans, "images": chosen.scans}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "before").mkdir()
        sides = {"before": both_builds.before(folder / "before"), "now": both_builds.ROOT / "src"}
        for case in chosen.cases:
            found = measure(case, size, sides, folder / case, chosen.repeats, chosen.epochs)
            print(json.dumps({"case": case, "size": chosen.size, **found}), flush=True)


if __name__ == "__main__":
    main()

"""Filling the cache of pixels with two processes: on a local Ray of two workers, by two readers, and by one process alone.

Each way prepares the same scans, `.nii.gz` of a CT's size, into an empty cache in a process of its own. The start is what
passes until the first scan is done; the rate counts the scans after it. CPU seconds include Ray's own processes. The floor is
reading and resampling one scan, times their number.

    python benchmarks/prepare_on_ray.py [--scans 48] [--ways alone workers ray]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

WAYS = ("alone", "workers", "ray")
SHAPE, SIZE = (256, 256, 96), (32, 224, 224)


def write_recipe(folder: Path, count: int) -> Path:
    """Scans of smooth tissue and noise with a question each, and a recipe that names them."""
    rng = np.random.default_rng(0)
    lines = []
    tissue = 400 * np.sin(np.linspace(0, 3, SHAPE[0]))[:, None, None] * np.cos(np.linspace(0, 5, SHAPE[2]))
    for number in range(count):
        values = (tissue + rng.normal(0, 15, SHAPE)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([1.4, 1.4, 3.0, 1])), folder / f"{number}.nii.gz")  # type: ignore[no-untyped-call]
        blocks = [
            {"type": "volume", "volume": f"{number}.nii.gz", "units": "HU"},
            {"type": "text", "text": "?"},
        ]
        messages = [{"role": "user", "content": blocks}, {"role": "assistant", "content": "Yes."}]
        lines.append(json.dumps({"id": f"s{number}", "messages": messages}))
    (folder / "data.jsonl").write_text("\n".join(lines))
    llm = {
        "model_type": "qwen2", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 1, "max_position_embeddings": 512, "tie_word_embeddings": True,
    }  # fmt: skip
    encoder = {
        "type": "vit3d",
        "size": SIZE,
        "patch_size": [16, 32, 32],
        "width": 16,
        "num_layers": 1,
        "num_heads": 2,
    }
    model = {
        "llm": {"tokenizer_vocab_size": 300, "config": llm}, "volume_encoder": encoder, "max_length": 256,
        "volume_connector": {"type": "linear"}, "volume_processor": {"size": SIZE, "windows": ["full"]},
    }  # fmt: skip
    stage = {
        "name": "align",
        "parts": {"volume_connector": "full"},
        "max_steps": 1,
        "batch_size": 1,
        "learning_rate": 1e-3,
    }
    document = {"model": model, "data": {"train": [{"path": str(folder / "data.jsonl")}]}, "stages": [stage]}
    (folder / "recipe.json").write_text(json.dumps(document))
    return folder / "recipe.json"


def prepare_by(way: str, recipe: Path) -> dict[str, float]:
    """Prepare all scans in one way; the cache is that of the environment."""
    import torch

    from medmvl.training.prepare import prepare
    from medmvl.training.prepare_ray import prepare_on_ray
    from medmvl.training.recipe_files import parse_recipe

    torch.set_num_threads(1)
    moments: list[tuple[float, int]] = []

    def progress(done: int, total: int) -> None:
        moments.append((time.perf_counter(), done))

    began, parsed = time.perf_counter(), parse_recipe(json.loads(recipe.read_text()), "benchmark")
    if way == "ray":
        found = prepare_on_ray(parsed, features=False, workers=2, progress=progress)
    else:
        found = prepare(parsed, features=False, workers=2 * (way == "workers"), progress=progress)
    assert not found.unread, found.unread
    (first, at), (last, count) = moments[0], moments[-1]
    return {"start": first - began, "wall per scan": (last - first) / (count - at), "cpu": cpu_of_all()}


def cpu_of_all() -> float:
    """CPU seconds of every process that has this one's cache in its environment: Ray's are no children of ours."""
    mark = f"MEDMVL_CACHE={os.environ['MEDMVL_CACHE']}".encode()
    total = 0.0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (process / "environ").read_bytes():
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                total += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
        except OSError:
            continue
    return total


def floor(recipe: Path) -> float:
    """CPU seconds of reading a scan."""
    from medmvl.imaging import read

    read(recipe.parent / "0.nii.gz")
    began = time.process_time()
    for _ in range(3):
        read(recipe.parent / "0.nii.gz")
    return (time.process_time() - began) / 3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scans", type=int, default=48)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--way", choices=WAYS)
    parser.add_argument("--recipe", type=Path)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(prepare_by(options.way, options.recipe)))
        return
    with tempfile.TemporaryDirectory() as name:
        recipe = write_recipe(Path(name), options.scans)
        print(f"{options.scans} scans of {SHAPE}; reading one takes {floor(recipe):.3f} CPU s")
        for way in options.ways:
            done = subprocess.run(
                [sys.executable, __file__, "--way", way, "--recipe", str(recipe)],
                env={**os.environ, "MEDMVL_CACHE": str(Path(name, way))}, stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
            print(
                f"{way:<8}" + "".join(f"{key} {value:.3f} s   " for key, value in found.items()), flush=True
            )


if __name__ == "__main__":
    main()

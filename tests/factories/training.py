"""Tiny recipes: parts of width 16, a handful of phantom patients, a few steps."""

import json
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

MODEL: dict[str, Any] = {
    "max_length": 256,
    "llm": {
        "tokenizer_vocab_size": 400,
        "config": {
            "model_type": "qwen2",
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 512,
            "tie_word_embeddings": True,
        },
    },
    "image_encoder": {
        "type": "vit2d", "size": [16, 16], "patch_size": [8, 8], "width": 16, "num_layers": 1, "num_heads": 2,
    },
    "image_connector": {"type": "linear"},
    "image_processor": {"size": [16, 16], "channels": 1, "mean": [0.5], "std": [0.5]},
    "volume_encoder": {
        "type": "vit3d", "size": [8, 16, 16], "patch_size": [4, 8, 8], "width": 16, "num_layers": 1, "num_heads": 2,
    },
    "volume_connector": {"type": "linear"},
    "volume_processor": {"size": [8, 16, 16]},
}  # fmt: skip

ALL_FULL = dict.fromkeys(
    ("image_encoder", "image_connector", "volume_encoder", "volume_connector", "llm"), "full"
)


def phantoms(split: str = "train", **more: Any) -> dict[str, Any]:
    return {"phantoms": {"preset": "quickstart", "patients": 40, "split": split}, **more}


def stage(name: str = "instruct", **more: Any) -> dict[str, Any]:
    settings = {
        "name": name, "parts": ALL_FULL, "max_steps": 4, "batch_size": 4, "learning_rate": 1e-3, "warmup": 0,
        "log_steps": 1,
    }  # fmt: skip
    return settings | more


def recipe(*stages: dict[str, Any], train: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """The document of a tiny recipe; without training data of its own where every stage brings some."""
    document = {
        "model": MODEL,
        "data": {"train": train or [phantoms()], "validation": [phantoms("validation", limit=6)]},
        "stages": list(stages) or [stage()],
    }
    made = deepcopy(document | more)
    if all(one.get("data", {}).get("train") for one in made["stages"]):
        made["data"]["train"] = []
    return made


def write_text_samples(path: Path, count: int, words: int = 5) -> None:
    """A data file of samples without any image."""
    lines = []
    for index in range(count):
        messages = [
            {"role": "user", "content": f"Question {index}?"},
            {"role": "assistant", "content": " ".join(["yes"] * words)},
        ]
        lines.append(json.dumps({"id": f"text-{index}", "messages": messages}))
    path.write_text("\n".join(lines))


def write_recipe(path: Path, document: dict[str, Any]) -> Path:
    """A recipe file."""
    path.write_text(yaml.safe_dump(document))
    return path


def command(*arguments: object, processes: int = 1) -> list[str]:
    """`medmvl train ...`, under torchrun where there are several processes."""
    launcher = (
        []
        if processes == 1
        else ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    )
    return [sys.executable, *launcher, "-m", "medmvl", "train", *map(str, arguments)]


def losses(out: Path) -> dict[tuple[str, int, str], float]:
    """Every loss and accuracy of a finished run by stage, step and name."""
    records = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    return {
        (record["stage"], record["step"], key): value
        for record in records
        for key, value in record.items()
        if key == "loss" or key.startswith("eval_")
    }


@pytest.fixture(scope="session")
def phantom_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Phantom patients are made once a session."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDMVL_CACHE", str(folder))
        yield folder

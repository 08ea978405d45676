"""The commands that write, each with the inputs that it needs; all small."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save

from medmvl.pretrained.parts import PRETRAINED, Packages, PretrainedPart
from tests.factories.dicom import ct_series, stored_volume
from tests.factories.engine import save_tiny_model
from tests.factories.exchange import llava
from tests.factories.pretrained import wheel
from tests.factories.public_datasets import image_file, vqa_rad
from tests.factories.training import phantoms, recipe, stage, write_recipe

ENCODERS = {"image_encoder": "full", "volume_encoder": "full"}


@dataclass(frozen=True)
class Inputs:
    """What commands read."""

    folder: Path

    def __truediv__(self, name: str) -> str:
        return str(self.folder / name)


def prepare(folder: Path) -> Inputs:
    """A table with images, a public data set, phantoms, models, recipes and scans."""
    from medmvl.phantoms.dataset import write_dataset

    folder.mkdir(parents=True)
    for number in range(8):
        image_file(folder / "images" / f"{number}.png", number)
    rows = [f"p{n // 2},{n}.png,Is it large?,{'yes' if n % 3 else 'no'}" for n in range(8)]
    (folder / "table.csv").write_text("\n".join(["patient,path,question,answer", *rows]) + "\n")
    vqa_rad(folder / "vqa-rad")
    write_dataset(folder / "phantoms", patients=4, preset="tiny")
    save_tiny_model(folder / "model")
    llava(folder / "llava")
    for number in range(2):
        ct_series(
            folder / "scans" / str(number), stored_volume() + number, StudyInstanceUID=f"1.2.3.{number}"
        )
    two = recipe(
        stage("encoders", objective="classification", parts=ENCODERS, max_steps=3, save_steps=1),
        stage("instruct", max_steps=4, save_steps=2, log_steps=3),
    )
    write_recipe(folder / "recipe.yaml", two)
    files = [{"path": str(folder / "phantoms/train.jsonl")}]
    frozen = recipe(stage(parts={"volume_connector": "full", "llm": "full"}, max_steps=2))
    frozen["data"] = {"train": files}
    write_recipe(folder / "frozen.yaml", frozen)
    one = recipe(stage(max_steps=2))
    one["data"] = {"train": [phantoms(limit=8)], "test": [phantoms("test", limit=4)]}
    write_recipe(folder / "base.yaml", one)
    experiment = {
        "question": "Does width matter?", "base": "base.yaml", "reference": "narrow", "seeds": [0],
        "variants": {"narrow": {}, "wide": {"change": {"model.volume_encoder.width": 32}}},
        "evaluation": {"max_new_tokens": 4},
    }  # fmt: skip
    (folder / "experiment.yaml").write_text(yaml.safe_dump(experiment))
    _answers(folder)
    _pretrained(folder / "wheels")
    return Inputs(folder)


def _pretrained(folder: Path) -> None:
    """Wheels of a pretrained part, `tiny`, which this process and its forks then know."""
    weights = save({f"blocks.{number}.weight": torch.full((64, 64), float(number)) for number in range(8)})
    folder.mkdir()
    wheel(folder, "tiny-part", "1.0", {"tiny_part/part.safetensors": weights})
    source = Packages((("tiny-part==1.0", "tiny_part/part.safetensors"),), "part.safetensors")
    PRETRAINED["tiny"] = PretrainedPart(
        role="image encoder", about="tiny", licence="MIT", num_bytes=len(weights), source=source,
        sha256=hashlib.sha256(weights).hexdigest(), layout="image weights", settings=(("type", "tiny"),),
    )  # fmt: skip


def _answers(folder: Path) -> None:
    """Answers to the phantoms' questions, right ones and wrong ones, and two finished evaluations of them."""
    from medmvl.data.sources import open_data

    samples = open_data(folder / "phantoms/train.jsonl").samples
    right = [{"id": sample.id, "text": sample.messages[-1].text} for sample in samples]
    write_lines(folder / "right.jsonl", right)
    write_lines(folder / "wrong.jsonl", [{**line, "text": "I cannot tell."} for line in right])
    predictions = [
        {"id": line["id"], "prediction": line["text"], "references": [line["text"]]} for line in right
    ]
    write_lines(folder / "predictions.jsonl", predictions)
    for score in (0.0, 1.0):
        run = folder / f"evaluation-{score:.0f}"
        run.mkdir()
        write_lines(
            run / "answers.jsonl",
            [
                {"id": line["id"], "modality": "3D", "question_type": "nodule", "language": "en", "question": "?",
                 "truth": "yes", "text": "yes", "metric": "accuracy", "score": score, "cluster": number}
                for number, line in enumerate(right)
            ],
        )  # fmt: skip
        (run / "results.json").write_text(json.dumps({"protocol": "strict", "cluster": "patient"}))


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """A file of JSON Lines."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


CACHE_IS_OUTPUT = ("prepare", "prepare-features")
"""Commands whose output is the cache folder."""
Command = Callable[[Path], list[str]]
COMMANDS: dict[str, Callable[[Inputs], Command]] = {
    "phantoms": lambda of: lambda to: ["phantoms", f"{to}/out", "--patients", "3", "--preset", "tiny"],
    "from-csv": lambda of: lambda to: [
        "data", "from-csv", of / "table.csv", f"{to}/out", "--images", of / "images", "--split", "0.5,0.25,0.25",
    ],
    "split": lambda of: lambda to: [
        "data", "split", of / "phantoms/train.jsonl", f"{to}/out", "--split", "0.5,0.5,0",
    ],
    "convert": lambda of: lambda to: ["data", "convert", "vqa-rad", of / "vqa-rad", f"{to}/out", "--copy"],
    "export": lambda of: lambda to: ["export", of / "model", f"{to}/out", "--format", "merged"],
    "import": lambda of: lambda to: ["import", of / "llava", f"{to}/out"],
    "pretrained": lambda of: lambda to: ["pretrained", "get", "tiny", f"{to}/out", "--from", of / "wheels"],
    "generate": lambda of: lambda to: [
        "generate", of / "model", "--data", of / "phantoms/test.jsonl", "--out", f"{to}/answers.jsonl",
        "--max-new-tokens", "4", "--batch-size", "4",
    ],
    "report": lambda of: lambda to: [
        "report", of / "model", of / "scans", "--out", f"{to}/out", "--max-new-tokens", "8",
    ],
    "evaluate": lambda of: lambda to: [
        "evaluate", of / "model", "--data", of / "phantoms/test.jsonl", "--out", f"{to}/out",
        "--max-new-tokens", "4",
    ],
    "pairs": lambda of: lambda to: [
        "data", "pairs", of / "phantoms/train.jsonl", f"{to}/pairs.jsonl", "--from", of / "right.jsonl",
        "--from", of / "wrong.jsonl",
    ],
    "score": lambda of: lambda to: [
        "score", of / "predictions.jsonl", "--out", f"{to}/out", "--answers", f"{to}/answers.jsonl",
    ],
    "compare": lambda of: lambda to: [
        "compare", of / "evaluation-0", of / "evaluation-1", "--out", f"{to}/out",
    ],
    "preview": lambda of: lambda to: ["inspect", of / "scans/0", "--preview", f"{to}/preview.png"],
    "prepare": lambda of: lambda to: ["data", "prepare", of / "frozen.yaml"],
    "prepare-features": lambda of: lambda to: ["data", "prepare", of / "frozen.yaml", "--features"],
    "shards": lambda of: lambda to: [
        "data", "shards", of / "phantoms/train.jsonl", f"{to}/out", "--size", "0.05",
    ],
    "train": lambda of: lambda to: ["train", of / "recipe.yaml", "--out", f"{to}/out"],
    "experiment": lambda of: lambda to: ["experiment", of / "experiment.yaml", "--out", f"{to}/out"],
}  # fmt: skip

"""Small data sets on disk, and a real processor of tiny parts."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medmvl.models.assemble import assemble_processor
from medmvl.models.model_recipe import ModelRecipe
from medmvl.models.processing import MedMVLProcessor
from medmvl.schema import Sample, write_samples
from tests.factories.training import MODEL

TEXTS = ["Is there an effusion? Yes. No.", "Where is the nodule? Left upper lobe.", "有胸腔积液吗？有。"]


def processor(**changes: Any) -> MedMVLProcessor:
    """A processor with a tokenizer trained on three sentences."""
    return assemble_processor(ModelRecipe.model_validate({**MODEL, **changes}), texts=TEXTS)


def sample(
    number: int = 0, visual: dict[str, Any] | None = None, answer: str | None = "Yes.", **more: Any
) -> Sample:
    """A question with its answer, about an image or none."""
    content: list[dict[str, Any]] = [] if visual is None else [visual]
    messages = [
        {"role": "user", "content": [*content, {"type": "text", "text": "Is there an effusion?"}]},
    ]
    if answer is not None:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    return Sample.model_validate({"id": f"s{number}", "messages": messages, **more})


def image_file(path: Path, seed: int = 0) -> Path:
    """An 8-bit grey PNG of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 24), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def volume(path: Path, seed: int = 0) -> Path:
    """A bare array of Hounsfield units."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.random.default_rng(seed).integers(-1000, 400, (9, 18, 17), dtype=np.int16))
    return path


VOLUME_BLOCK = {"units": "HU", "spacing_mm": (2.0, 1.0, 1.0), "axcodes": ("S", "P", "L"), "type": "volume"}


def dataset(folder: Path, patients: int = 4, questions: int = 3, name: str = "train") -> Path:
    """A file with questions about one image a patient, and one about a volume."""
    samples = []
    for patient in range(patients):
        image_file(folder / "images" / f"{patient}.png", patient)
        visual = {"type": "image", "image": f"images/{patient}.png"}
        who = {
            "patient": f"p{patient}",
            "language": "en",
            "target": {"question_type": "effusion", "answers": ["Yes."]},
        }
        samples += [sample(10 * patient + n, visual, **who) for n in range(questions)]
    volume(folder / "volumes" / "0.npy")
    samples.append(sample(990, {**VOLUME_BLOCK, "volume": "volumes/0.npy"}, patient="p0", language="zh"))
    samples.append(sample(991, language="zh"))
    write_samples(folder / f"{name}.jsonl", samples)
    return folder / f"{name}.jsonl"


def llava_record(**changes: Any) -> dict[str, Any]:
    """A record with one image."""
    record = {
        "id": "a",
        "image": "a.png",
        "conversations": [
            {"from": "human", "value": "<image>\nIs there an effusion?"},
            {"from": "gpt", "value": "Yes."},
        ],
    }
    return record | changes


def write_json_file(path: Path, records: Any) -> Path:
    """Any JSON document."""
    path.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    return path

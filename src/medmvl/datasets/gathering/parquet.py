"""The Parquet form in which Hugging Face keeps image questions: columns `image`, `question`, `answer`.

Files are `data/{train,validation,test}-00000-of-00001-*.parquet`; images are inside and written out once.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import question
from medmvl.datasets.gathering.readers import iter_parquet, text_field
from medmvl.errors import UserError
from medmvl.json_types import JsonMapping
from medmvl.schema import ImageBlock
from medmvl.tasks.answers import yes_no_choices

SUFFIXES = {b"\x89PN": ".png", b"\xff\xd8\xff": ".jpg"}
SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


def gather_parquet(found: Collection, task: str) -> bool:
    """Take every question of the Parquet files; return whether there are any."""
    files = sorted(found.raw.rglob("*.parquet"))
    for path in files:
        split = SPLITS.get(path.name.split("-")[0].removesuffix(".parquet"))
        if split is None:
            raise UserError(f"{path}: the name of a split, such as train-..., was expected")
        for number, row in enumerate(iter_parquet(found.table(path))):
            if row.get("answer") == "":
                found.note("questions with an empty answer, as published")
                continue
            with found.record(f"{path.name}, row {number + 1}"):
                _take(found, row, f"{task}-{path.stem.split('-of-')[0]}-{number:06d}", split, task)
    return bool(files)


def _take(found: Collection, row: JsonMapping, id: str, split: str, task: str) -> None:
    answer = text_field(row, "answer")
    name = save_image(found, row.get("image"))
    choices = yes_no_choices(answer, text_field(row, "question"))
    sample = question(
        id,
        [ImageBlock(image=name)],
        text_field(row, "question"),
        answer,
        question_type="closed" if choices else "open",
        choices=choices,
        image_group=Path(name).stem,
        task=task,
    )
    found.add(sample, split)


def save_image(found: Collection, value: object) -> str:
    """Write an image of a row under the digest of its bytes and return what samples call it.

    Raises:
        UserError: where there is none, or it cannot be decoded.
    """
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes) or not data:
        raise UserError("it holds no image")
    suffix = SUFFIXES.get(data[:3], "")
    name = f"{hashlib.sha256(data).hexdigest()[:32]}{suffix}"
    reference = f"images/{name}"
    return reference if reference in found.digests else found.image_from_bytes(name, data)

"""MedQA (Jin et al. 2021), US part: questions without images, part of Uni-Med's mixture.

Layout: `questions/US/{train,dev,test}.jsonl` of github.com/jind11/MedQA with `question`, `answer`, `options`. Asked as in
Uni-Med: without options.
"""

from __future__ import annotations

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import question
from medmvl.datasets.gathering.readers import iter_json, text_field
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import UserError

SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def gather(found: Collection) -> None:
    """Take every question of the US part."""
    folder = found.raw / "questions" / "US"
    for part, split in SPLITS.items():
        path = folder / f"{part}.jsonl"
        if not path.is_file():
            continue
        for number, record in enumerate(iter_json(found.table(path))):
            with found.record(f"{path.name}, line {number + 1}"):
                asked, answer = text_field(record, "question"), text_field(record, "answer")
                found.add(
                    question(
                        f"medqa-{part}-{number:06d}", (), asked, answer, question_type="qa", task="medqa"
                    ),
                    split,
                )
    if not found.entries:
        raise UserError(f"{found.raw}: expected questions/US/train.jsonl")


DATASET = PublicDataset(
    name="medqa",
    title="MedQA, US part, text only",
    licence="MIT",
    url="https://github.com/jind11/MedQA",
    layout="questions/US/{train,dev,test}.jsonl",
    size="10,178 / 1,272 / 1,273 questions",
    split=AS_PUBLISHED,
    gather=gather,
)

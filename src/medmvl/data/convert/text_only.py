"""MedQA (Jin et al. 2021) and PubMedQA (Jin et al. 2019): questions without pictures, part of Uni-Med's mixture.

Layouts: `questions/US/{train,dev,test}.jsonl` of github.com/jind11/MedQA with `question`, `answer`, `options`;
`{train,dev,test}_set.json` of github.com/pubmedqa/pubmedqa (id to `QUESTION`, `final_decision`; the first two
may lie in `pqal_fold0/`). Asked as in Uni-Med: without options or contexts.
"""

from __future__ import annotations

from medmvl.data.convert.collection import Collection
from medmvl.data.convert.questions import question
from medmvl.data.convert.readers import as_records, iter_json, load_object, text_field
from medmvl.errors import UserError

SPLITS = {"train": "train", "dev": "validation", "test": "test"}
DECISIONS = ("yes", "no", "maybe")


def gather_medqa(found: Collection) -> None:
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
                    question(f"medqa-{part}-{number:06d}", (), asked, answer, kind="qa", task="medqa"), split
                )
    if not found.entries:
        raise UserError(f"{found.raw}: expected questions/US/train.jsonl")


def gather_pubmedqa(found: Collection) -> None:
    """Take every labelled question."""
    for part, split in SPLITS.items():
        folders = (found.raw, found.raw / "pqal_fold0")
        path = next((f / f"{part}_set.json" for f in folders if (f / f"{part}_set.json").is_file()), None)
        if path is None:
            continue
        for name, value in load_object(found.table(path)).items():
            with found.record(f"{path.name}, {name}"):
                (record,) = as_records([value], name)
                found.add(
                    question(
                        f"pubmedqa-{name}", (), text_field(record, "QUESTION"),
                        text_field(record, "final_decision"), kind="qa", choices=DECISIONS, task="pubmedqa",
                    ),
                    split,
                )  # fmt: skip
    if not found.entries:
        raise UserError(f"{found.raw}: expected train_set.json and test_set.json")

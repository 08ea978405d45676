"""PubMedQA (Jin et al. 2019), labelled part: questions without images, part of Uni-Med's mixture.

Layout: `{train,dev,test}_set.json` of github.com/pubmedqa/pubmedqa (id to `QUESTION`, `final_decision`; the first two may
lie in `pqal_fold0/`). Asked as in Uni-Med: without contexts.
"""

from __future__ import annotations

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import question
from medmvl.datasets.gathering.readers import as_records, load_object, text_field
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import UserError

SPLITS = {"train": "train", "dev": "validation", "test": "test"}
DECISIONS = ("yes", "no", "maybe")


def gather(found: Collection) -> None:
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
                        f"pubmedqa-{name}",
                        (),
                        text_field(record, "QUESTION"),
                        text_field(record, "final_decision"),
                        question_type="qa",
                        choices=DECISIONS,
                        task="pubmedqa",
                    ),
                    split,
                )
    if not found.entries:
        raise UserError(f"{found.raw}: expected train_set.json and test_set.json")


DATASET = PublicDataset(
    name="pubmedqa",
    title="PubMedQA, labelled part, text only",
    licence="MIT",
    url="https://github.com/pubmedqa/pubmedqa",
    layout="{train,dev,test}_set.json",
    size="450 / 50 / 500 questions",
    split=AS_PUBLISHED,
    gather=gather,
)

"""PathVQA (He et al., arXiv 2003.10286): open and yes/no questions about pathology figures.

Layouts: the Parquet files of huggingface.co/datasets/flaviagiammarino/path-vqa (5,004 images, 32,799 pairs
less duplicates: 19,654 / 6,259 / 6,719), and the authors' `images/{train,val,test}/*.jpg` with
`qas/{train,val,test}/{split}_qa.pkl` (github.com/UCSD-AI4H/PathVQA), pickled lists of `image`, `question`,
`answer`, which are unpacked without ever running what a pickle could contain.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.parquet import SPLITS, gather_parquet
from medmvl.datasets.gathering.questions import question
from medmvl.datasets.gathering.readers import below, text_field
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import UserError
from medmvl.json_types import JsonMapping
from medmvl.schema import ImageBlock
from medmvl.tasks.answers import yes_no_choices
from medmvl.tasks.benchmark import Benchmark


def gather(found: Collection) -> None:
    """Take every question of either layout."""
    if gather_parquet(found, "path_vqa"):
        return
    tables = sorted(found.raw.rglob("*_qa.pkl"))
    if not tables:
        raise UserError(f"{found.raw}: expected Parquet files, or qas/*/*_qa.pkl with images/")
    for path in tables:
        split = SPLITS.get(path.name.removesuffix("_qa.pkl"))
        if split is None:
            raise UserError(f"{path}: expected train_qa.pkl, val_qa.pkl or test_qa.pkl")
        for number, record in enumerate(_load(found.table(path))):
            with found.record(f"{path.name}, question {number + 1}"):
                _take(found, record, f"path_vqa-{split}-{number:06d}", split)


def _take(found: Collection, record: JsonMapping, id: str, split: str) -> None:
    name = text_field(record, "image")
    file = name if Path(name).suffix else f"{name}.jpg"
    folder = found.raw / "images"
    places = [folder / part for part in ("", "train", "val", "test")]
    path = next((place / file for place in places if below(place, file).is_file()), folder / file)
    answer = text_field(record, "answer")
    choices = yes_no_choices(answer, text_field(record, "question"))
    sample = question(
        id,
        [ImageBlock(image=found.image(path))],
        text_field(record, "question"),
        answer,
        question_type="closed" if choices else "open",
        choices=choices,
        image_group=Path(name).stem,
        task="path_vqa",
    )
    found.add(sample, split)


class _PlainUnpickler(pickle.Unpickler):
    """Lists, dictionaries and text only."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _load(path: Path) -> list[JsonMapping]:
    try:
        with path.open("rb") as file:
            records = _PlainUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, IndexError, ValueError, AttributeError) as error:
        raise UserError(f"{path}: not a pickled list of plain records ({error})") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise UserError(f"{path}: expected a list of records")
    return records


PATH_VQA = Benchmark(
    name="path-vqa", title="PathVQA, open and yes/no questions", data="path-vqa", protocol="unimed",
)  # fmt: skip

DATASET = PublicDataset(
    name="path-vqa",
    title="PathVQA",
    licence="MIT for the questions; images are from textbooks and a digital library",
    url="https://huggingface.co/datasets/flaviagiammarino/path-vqa",
    layout="data/*.parquet of Hugging Face, or images/ and qas/*/{train,val,test}_qa.pkl",
    size="5,004 images; 19,654 / 6,259 / 6,719 questions",
    split=AS_PUBLISHED,
    gather=gather,
    tasks=(PATH_VQA,),
)

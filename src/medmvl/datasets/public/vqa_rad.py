"""VQA-RAD (Lau et al., Scientific Data 2018): questions about radiographs, CT and MR pictures.

Layouts: `VQA_RAD Dataset Public.json` with `VQA_RAD Image Folder` (osf.io/89kps; `phrase_type` says what is
test), and the Parquet files of huggingface.co/datasets/flaviagiammarino/vqa-rad, where equal bytes are one
picture. The published test set shares 203 pictures with training, so a new split by picture is the default.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.parquet import gather_parquet
from medmvl.datasets.gathering.questions import question, yes_no
from medmvl.datasets.gathering.readers import below, load_records, text_field
from medmvl.datasets.public_dataset import PublicDataset
from medmvl.errors import UserError
from medmvl.schema import ImageBlock
from medmvl.tasks.benchmark import Benchmark

TABLE_NAMES = ("VQA_RAD Dataset Public.json", "vqa.json")
IMAGE_FOLDERS = ("VQA_RAD Image Folder", "images")
KINDS = {"CLOSED": "closed", "OPEN": "open"}


def gather(found: Collection) -> None:
    """Take every question of the JSON or the Parquet form."""
    raw = found.raw
    table = next((raw / name for name in TABLE_NAMES if (raw / name).is_file()), None)
    folder = next((raw / name for name in IMAGE_FOLDERS if (raw / name).is_dir()), None)
    if table is None or folder is None:
        if gather_parquet(found, "vqa_rad"):
            return
        raise UserError(
            f"{raw}: expected {' or '.join(TABLE_NAMES)} and a folder {' or '.join(IMAGE_FOLDERS)}"
        )
    records = load_records(found.table(table))
    for number, record in enumerate(records):
        with found.record(f"{table.name}, question {number + 1}"):
            _take(found, record, number, folder)


def _take(found: Collection, record: Mapping[str, Any], number: int, folder: Path) -> None:
    name = text_field(record, "image_name")
    answer = text_field(record, "answer")
    form = str(record.get("answer_type")).strip().upper()
    if form not in KINDS:
        raise UserError(f"expected CLOSED or OPEN as answer_type, found {form!r}")
    test = str(record.get("phrase_type", "")).startswith("test")
    sample = question(
        f"vqa_rad-{number:05d}",
        [ImageBlock(image=found.image(below(folder, name)))],
        text_field(record, "question"),
        answer,
        kind=KINDS[form],
        choices=yes_no(answer) if form == "CLOSED" else (),
        image_group=Path(name).stem,
        task="vqa_rad",
    )
    found.add(sample, "test" if test else "train")


VQA_RAD = Benchmark(
    name="vqa-rad", title="VQA-RAD, open and closed questions", data="vqa-rad", protocol="medevalkit"
)  # fmt: skip

DATASET = PublicDataset(
    name="vqa-rad",
    title="VQA-RAD",
    licence="CC0 1.0",
    url="https://osf.io/89kps",
    layout="'VQA_RAD Dataset Public.json' with 'VQA_RAD Image Folder/', or data/*.parquet of Hugging Face",
    size="315 pictures, 2,248 questions; published test: 451",
    split="a new one by picture: the published test shares 203 pictures with training",
    gather=gather,
    as_published=False,
    tasks=(VQA_RAD,),
)

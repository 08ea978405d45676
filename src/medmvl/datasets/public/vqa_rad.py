"""VQA-RAD (Lau et al., Scientific Data 2018): questions about radiographs, CT and MR images.

Layouts: `VQA_RAD Dataset Public.json` with `VQA_RAD Image Folder` (osf.io/89kps; `phrase_type` says what is
test); `trainset.json` and `testset.json` with `images`, as most public code has it (the table says what is test);
and the Parquet files of huggingface.co/datasets/flaviagiammarino/vqa-rad, where equal bytes are one image.
The published test set shares 203 images with training, so a new split by image is the default; `official` is the split
that published numbers are of. A third of the answers in the tables begin with a small letter, without a rule; these get a
capital, as a model that learns both spends probability on the spelling. Those of the Parquet files stay as they are.
"""

from __future__ import annotations

from pathlib import Path

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.parquet import gather_parquet
from medmvl.datasets.gathering.questions import question
from medmvl.datasets.gathering.readers import below, load_records, text_field
from medmvl.datasets.public_dataset import PublicDataset
from medmvl.errors import UserError
from medmvl.json_types import JsonMapping
from medmvl.schema import ImageBlock
from medmvl.tasks.answers import yes_no_choices
from medmvl.tasks.benchmark import Benchmark

TABLE_NAMES = ("VQA_RAD Dataset Public.json", "vqa.json")
SPLIT_TABLES = {"trainset.json": "train", "testset.json": "test"}
IMAGE_FOLDERS = ("VQA_RAD Image Folder", "images")
QUESTION_TYPES = {"CLOSED": "closed", "OPEN": "open"}

SLIPS = {"ATRIB": "ATTRIB", "PRSE": "PRES"}
"""Types of questions as the tables misspell them."""


def gather(found: Collection) -> None:
    """Take every question of the JSON or the Parquet form."""
    raw = found.raw
    folder = next((raw / name for name in IMAGE_FOLDERS if (raw / name).is_dir()), None)
    tables = _tables(raw)
    if not tables or folder is None:
        if gather_parquet(found, "vqa_rad"):
            return
        raise UserError(
            f"{raw}: expected {' or '.join(TABLE_NAMES)}, or {' and '.join(SPLIT_TABLES)}, and a folder "
            f"{' or '.join(IMAGE_FOLDERS)}"
        )
    start = 0
    for table, split in tables:
        records = load_records(found.table(table))
        for number, record in enumerate(records):
            with found.record(f"{table.name}, question {number + 1}"):
                _take(found, record, start + number, folder, split)
        start += len(records)


def _tables(raw: Path) -> list[tuple[Path, str | None]]:
    """The tables with the split that each one is, None where its records say it.

    Raises:
        UserError: one of the two halves is missing.
    """
    whole = next((raw / name for name in TABLE_NAMES if (raw / name).is_file()), None)
    if whole is not None:
        return [(whole, None)]
    halves = {raw / name: split for name, split in SPLIT_TABLES.items() if (raw / name).is_file()}
    if len(halves) == 1:
        raise UserError(f"{raw}: {' and '.join(SPLIT_TABLES)} belong together, but one of them is missing")
    return list(halves.items())


def _take(found: Collection, record: JsonMapping, number: int, folder: Path, split: str | None) -> None:
    name = text_field(record, "image_name")
    answer = _capitalised(text_field(record, "answer"))
    form = str(record.get("answer_type")).strip().upper()
    if form not in QUESTION_TYPES:
        raise UserError(f"expected CLOSED or OPEN as answer_type, found {form!r}")
    said = "test" if str(record.get("phrase_type", "")).startswith("test") else "train"
    sample = question(
        f"vqa_rad-{number:05d}",
        [ImageBlock(image=found.image(below(folder, name)))],
        text_field(record, "question"),
        answer,
        question_type=QUESTION_TYPES[form],
        choices=yes_no_choices(answer) if form == "CLOSED" else (),
        categories=_categories(record),
        image_group=Path(name).stem,
        task="vqa_rad",
    )
    found.add(sample, split or said)


def _capitalised(answer: str) -> str:
    """The answer with its first letter large."""
    return answer[:1].upper() + answer[1:]


def _categories(record: JsonMapping) -> list[str]:
    """Organ and types of a question, by the data set's own names, its slips of the pen corrected."""
    organ = str(record.get("image_organ") or "").strip().upper()
    types = [part.strip().upper() for part in str(record.get("question_type") or "").split(",")]
    return [name for name in (organ, *(SLIPS.get(part, part) for part in types)) if name]


VQA_RAD = Benchmark(
    name="vqa-rad", title="VQA-RAD, open and closed questions", data="vqa-rad", protocol="medevalkit"
)  # fmt: skip

DATASET = PublicDataset(
    name="vqa-rad",
    title="VQA-RAD",
    licence="CC0 1.0",
    url="https://osf.io/89kps",
    layout="'VQA_RAD Dataset Public.json' with 'VQA_RAD Image Folder/'; trainset.json and testset.json with images/; or "
    "data/*.parquet of Hugging Face",
    size="315 images, 2,248 questions; published test: 451",
    split="a new one by image: the published test shares 203 images with training",
    gather=gather,
    as_published=False,
    tasks=(VQA_RAD,),
)

"""SLAKE (Liu et al., ISBI 2021): questions in English and Chinese, and boxes of organs and lesions.

Layout (med-vqa.com/slake; huggingface.co/datasets/BoKelvin/SLAKE): `train.json`, `validate.json`, `test.json`,
and `imgs/xmlab102/{source.jpg,detection.json}`, whose boxes are `[{"Liver": [x, y, width, height]}, ...]`.
An image goes where the English part puts it, in every language: the published splits of the two languages
together train on 142 of 180 test images.

The English part as Parquet (huggingface.co/datasets/mdwiratathya/SLAKE-vqa-english: `image`, `question`, `answer` in
`data/{train,validation,test}-*.parquet`) is read as well. It says neither which questions are closed nor where boxes are,
so what is answered with yes or no is closed. Columns and rows (4,919 / 1,053 / 1,061) are as in public code that loads it;
the files themselves were not seen. The hub's `validation.json` is read like `validate.json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.parquet import gather_parquet
from medmvl.datasets.gathering.questions import question
from medmvl.datasets.gathering.readers import below, load_records, text_field
from medmvl.datasets.gathering.regions import Region, add_regions, half_open
from medmvl.datasets.public_dataset import PublicDataset
from medmvl.errors import UserError
from medmvl.json_types import JsonMapping
from medmvl.schema import ImageBlock
from medmvl.tasks.answers import yes_no_choices
from medmvl.tasks.benchmark import Benchmark

FILES = {
    "train.json": "train",
    "validate.json": "validation",
    "validation.json": "validation",
    "test.json": "test",
}
QUESTION_TYPES = {"CLOSED": "closed", "OPEN": "open"}


def gather(found: Collection) -> None:
    """Take every question, then the boxes of every image asked about."""
    tables = [found.raw / name for name in FILES if (found.raw / name).is_file()]
    if not tables:
        if gather_parquet(found, "slake"):
            return
        raise UserError(
            f"{found.raw}: expected train.json, validate.json, test.json and imgs/, or data/*.parquet"
        )
    records = [
        (path, number, record)
        for path in tables
        for number, record in enumerate(load_records(found.table(path)))
    ]
    home = _split_of_images(records)
    for path, number, record in records:
        if record.get("answer") == "":
            found.note("questions with an empty answer, as published")
            continue
        with found.record(f"{path.name}, question {number + 1}"):
            _take(found, record, home)
    for name, split in home.items():
        _take_boxes(found, name, split)


def _split_of_images(records: Sequence[tuple[Path, int, JsonMapping]]) -> dict[str, str]:
    """Image to split: the English one, or that of the only language."""
    home: dict[str, str] = {}
    for wanted in ("en", "zh"):
        for path, _, record in records:
            if record.get("q_lang") == wanted and record.get("img_name"):
                home.setdefault(str(record["img_name"]), FILES[path.name])
    return home


def _take(found: Collection, record: JsonMapping, home: Mapping[str, str]) -> None:
    name, answer = text_field(record, "img_name"), text_field(record, "answer")
    language = text_field(record, "q_lang")
    if language not in ("en", "zh"):
        raise UserError(f"expected en or zh as q_lang, found {language!r}")
    question_type = QUESTION_TYPES.get(text_field(record, "answer_type").upper())
    if question_type is None:
        raise UserError(f"expected CLOSED or OPEN as answer_type, found {record.get('answer_type')!r}")
    spoken: Literal["en", "zh"] = "en" if language == "en" else "zh"
    sample = question(
        f"slake-{spoken}-{text_field(record, 'qid')}",
        [ImageBlock(image=found.image(below(found.raw / "imgs", name)))],
        text_field(record, "question"),
        answer,
        question_type=question_type,
        choices=yes_no_choices(answer) if question_type == "closed" else (),
        language=spoken,
        image_group=PurePosixPath(name).parent.name,
        task="slake",
    )
    found.add(sample, home[name])


def _take_boxes(found: Collection, name: str, split: str) -> None:
    path = below(found.raw / "imgs", name).with_name("detection.json")
    if not path.is_file():
        found.note("images without detection.json")
        return
    with found.record(f"imgs/{PurePosixPath(name).parent.name}/detection.json"):
        image = found.image(below(found.raw / "imgs", name))
        regions = [
            Region(label, half_open(box, found.size(image)))
            for entry in load_records(path)
            for label, box in entry.items()
        ]
        group = PurePosixPath(name).parent.name
        add_regions(found, f"slake-{group}", image, regions, split, task="slake", image_group=group)


QUESTIONS = ("open", "closed")

SLAKE = Benchmark(
    name="slake", title="SLAKE, English and Chinese", data="slake", question_types=QUESTIONS, protocol="medevalkit"
)  # fmt: skip
SLAKE_EN = Benchmark(
    name="slake-en", title="SLAKE, English", data="slake", question_types=QUESTIONS, languages=("en",),
    protocol="unimed",
)  # fmt: skip
SLAKE_ZH = Benchmark(
    name="slake-zh", title="SLAKE, Chinese", data="slake", question_types=QUESTIONS, languages=("zh",),
    protocol="medevalkit",
)  # fmt: skip
SLAKE_REFER = Benchmark(
    name="slake-refer", title="SLAKE, referring expression comprehension", data="slake", question_types=("refer",),
    protocol="unimed",
)  # fmt: skip
SLAKE_IDENTIFY = Benchmark(
    name="slake-identify", title="SLAKE, referring expression generation", data="slake",
    question_types=("identify",), protocol="unimed",
)  # fmt: skip

DATASET = PublicDataset(
    name="slake",
    title="SLAKE",
    licence="CC BY 4.0",
    url="https://www.med-vqa.com/slake",
    layout="train.json, validate.json, test.json, imgs/<image>/{source.jpg,detection.json}; or data/*.parquet of "
    "Hugging Face (English)",
    size="642 images, 14,028 questions (7,033 English, 6,995 Chinese)",
    split="every image where the English part puts it, in both languages and for boxes",
    gather=gather,
    tasks=(
        SLAKE,
        SLAKE_EN,
        SLAKE_ZH,
        SLAKE_REFER,
        SLAKE_IDENTIFY,
    ),
)

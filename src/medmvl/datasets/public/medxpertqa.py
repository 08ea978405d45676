"""MedXpertQA MM (Zuo et al., ICML 2025): examination questions about several images, with five options.

Layout (huggingface.co/datasets/TsinghuaC3I/MedXpertQA): `MM/test.jsonl` and `MM/dev.jsonl`, records with `id`, `question`,
`options` (`{"A": ...}`), `label` (a letter), `images` (names such as `MM-0-a.jpeg`), `question_type` (Reasoning or
Understanding), `medical_task` and `body_system`, which become categories; and the images in `images.zip` or the folder
`images/`. The five questions of `dev` are validation.
Checked in public code that reads it: the files, the fields, that `images` are names in the one archive; the size and the
MIT licence in the repository's README. Not checked: whether every question lists its options itself; where it does, after
`Answer Choices:`, that list is taken off and ours is put below. The subset `Text` has no images and is not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

from medmvl.datasets.gathering.archives import open_zip
from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import choice_question, options_by_letter
from medmvl.datasets.gathering.readers import below, iter_json, text_field
from medmvl.datasets.public_dataset import PublicDataset
from medmvl.errors import ReadError, UserError
from medmvl.json_types import JsonMapping
from medmvl.schema import ImageBlock
from medmvl.tasks.benchmark import Benchmark

TABLES = {"test.jsonl": "test", "dev.jsonl": "validation"}
OWN_LIST = "Answer Choices:"
ImageName = Callable[[str], str]
"""Name of an image to what samples call it."""
QUESTION_TYPES = {"reasoning": "choice_reasoning", "understanding": "choice_understanding"}


def gather(found: Collection) -> None:
    """Take every question of the multimodal part."""
    home = found.raw / "MM" if (found.raw / "MM").is_dir() else found.raw
    tables = {home / name: split for name, split in TABLES.items() if (home / name).is_file()}
    if not tables:
        raise UserError(f"{found.raw}: expected MM/test.jsonl and MM/dev.jsonl, and images.zip or images/")
    folder, archive = found.raw / "images", found.raw / "images.zip"
    if folder.is_dir() or not archive.is_file():
        _take_all(found, tables, lambda name: found.image(below(folder, name)))
        return
    with open_zip(archive) as opened:
        zipped = _Zipped(found, opened)
        _take_all(found, tables, zipped.image)


class _Zipped:
    """Images of the archive, each written out once."""

    def __init__(self, found: Collection, archive: ZipFile) -> None:
        self.found = found
        self.archive = archive
        self.members = {PurePosixPath(member).name: member for member in archive.namelist()}
        self.written: dict[str, str] = {}

    def image(self, name: str) -> str:
        if name not in self.members:
            raise ReadError(f"images.zip has no {name}")
        if name not in self.written:
            self.written[name] = self.found.image_from_bytes(name, self.archive.read(self.members[name]))
        return self.written[name]


def _take_all(found: Collection, tables: Mapping[Path, str], image: ImageName) -> None:
    for table, split in tables.items():
        for number, record in enumerate(iter_json(found.table(table))):
            with found.record(f"{table.name}, question {number + 1}"):
                _take(found, record, split, image)


def _take(found: Collection, record: JsonMapping, split: str, image: ImageName) -> None:
    names = record.get("images")
    if not isinstance(names, list) or not names:
        raise UserError("it names no images; the subset Text is not read")
    form = text_field(record, "question_type")
    if form.lower() not in QUESTION_TYPES:
        raise UserError(f"expected Reasoning or Understanding as question_type, found {form!r}")
    name = text_field(record, "id")
    sample = choice_question(
        f"medxpertqa-{name}",
        [ImageBlock(image=image(str(one))) for one in names],
        text_field(record, "question").partition(OWN_LIST)[0].strip(),
        options_by_letter(record.get("options")),
        text_field(record, "label"),
        question_type=QUESTION_TYPES[form.lower()],
        categories=[str(record[key]) for key in ("medical_task", "body_system") if record.get(key)],
        image_group=name,
        task="medxpertqa",
    )
    found.add(sample, split)


MEDXPERTQA = Benchmark(
    name="medxpertqa-mm", title="MedXpertQA MM, reasoning and understanding", data="medxpertqa",
    prompts={"en": "{question}\nAnswer with the letter of the right option."},
)  # fmt: skip

DATASET = PublicDataset(
    name="medxpertqa",
    title="MedXpertQA MM",
    licence="MIT",
    url="https://huggingface.co/datasets/TsinghuaC3I/MedXpertQA",
    layout="MM/{test,dev}.jsonl with images.zip or images/",
    size="2,000 test questions, 5 to develop with",
    split="as published; dev is validation",
    gather=gather,
    tasks=(MEDXPERTQA,),
)

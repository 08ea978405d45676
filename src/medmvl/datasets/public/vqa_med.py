"""VQA-Med of ImageCLEF 2019, 2020 and 2021 (Ben Abacha et al.): `image|question|answer` lines and images.

Layouts (github.com/abachaa/VQA-Med-2019, -2020, -2021): question files anywhere below the folder, such as
`All_QA_Pairs_train.txt`, `VQAnswering_2020_Val_QA_Pairs.txt`,
`VQAMed2019_Test_Questions_w_Ref_Answers.txt` (with a category), or questions and reference answers in two
files (`Task1-VQA-2021-TestSet-Questions.txt`, `...-ReferenceAnswers.txt`). Images are found by their name.
VQA-Med 2021 trains on the 2020 data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import question
from medmvl.datasets.gathering.readers import iter_lines
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import ReadError, UserError
from medmvl.schema import ImageBlock
from medmvl.tasks.answers import yes_no_choices
from medmvl.tasks.benchmark import Benchmark

SUFFIXES = (".jpg", ".jpeg", ".png")
NOT_QUESTIONS = ("readme", "imageids", "image_ids", "vqgeneration", "vqg")
MARKS = (("test", "test"), ("val", "validation"), ("train", "train"))


class Line(NamedTuple):
    """One question with what it accepts."""

    image: str
    question: str
    answers: tuple[str, ...]


def gather(found: Collection) -> None:
    """Take every question that has an answer."""
    images = {path.stem: path for path in sorted(found.raw.rglob("*")) if path.suffix.lower() in SUFFIXES}
    tables = list(_tables(found))
    if not tables:
        raise UserError(f"{found.raw}: no question file such as All_QA_Pairs_train.txt was found")
    references = _references(found, tables)
    for path, split in tables:
        if "referenceanswers" in _plain(path):
            continue
        for number, text in enumerate(iter_lines(found.table(path))):
            with found.record(f"{path.name}, line {number + 1}"):
                line = _parse(text, references)
                if line.image not in images:
                    raise ReadError(f"there is no image {line.image}")
                _take(found, line, images[line.image], f"{path.stem}-{number:05d}", split)


def _tables(found: Collection) -> Iterator[tuple[Path, str]]:
    """Question files and their splits; those sorted by category repeat the others."""
    for path in sorted(found.raw.rglob("*.txt")):
        name = _plain(path)
        if "QAPairsByCategory" in path.parts or any(mark in name for mark in map(_squeeze, NOT_QUESTIONS)):
            continue
        split = next((split for mark, split in MARKS if mark in name), None)
        if split is not None and any("|" in line for line in iter_lines(path)):
            yield path, split


def _references(found: Collection, tables: list[tuple[Path, str]]) -> dict[str, tuple[str, ...]]:
    """Image to accepted answers, from files of reference answers alone."""
    answers: dict[str, tuple[str, ...]] = {}
    for path, _ in tables:
        if "referenceanswers" in _plain(path):
            for line in iter_lines(found.table(path)):
                image, *rest = (part.strip() for part in line.split("|"))
                answers[image] = tuple(filter(None, rest))
    return answers


def _parse(text: str, references: dict[str, tuple[str, ...]]) -> Line:
    image, *rest = (part.strip() for part in text.split("|"))
    if len(rest) == 1:
        answers = references.get(image, ())
    else:
        if len(rest) == 3 and rest[0].lower() in ("modality", "plane", "organ", "abnormality"):
            rest = rest[1:]
        answers = tuple(filter(None, (part.strip() for field in rest[1:] for part in field.split("#"))))
    if not answers or not rest or not rest[0]:
        raise UserError("expected image|question|answer, or a file of reference answers next to it")
    return Line(image, rest[0], answers)


def _take(found: Collection, line: Line, image: Path, name: str, split: str) -> None:
    choices = yes_no_choices(line.answers[0], line.question)
    sample = question(
        f"vqa_med-{name}",
        [ImageBlock(image=found.image(image))],
        line.question,
        line.answers[0],
        question_type="closed" if choices else "open",
        choices=choices,
        more_answers=line.answers[1:],
        image_group=line.image,
        task="vqa_med",
    )
    found.add(sample, split)


def _plain(path: Path) -> str:
    return _squeeze(path.name)


def _squeeze(text: str) -> str:
    return text.lower().replace("-", "").replace("_", "").replace(" ", "")


def _year(year: int, size: str) -> PublicDataset:
    name = f"vqa-med-{year}"
    return PublicDataset(
        name=name,
        title=f"VQA-Med {year} (ImageCLEF)",
        licence="images from MedPix: for research, by the terms of ImageCLEF",
        url=f"https://github.com/abachaa/VQA-Med-{year}",
        layout="question files (image|question|answer lines) and image folders of train, validation and test",
        size=size,
        split=AS_PUBLISHED,
        gather=gather,
        tasks=(Benchmark(name=name, title=f"VQA-Med {year}", data=name),),
    )


DATASETS = (
    _year(2019, "4,200 images, 15,292 questions; test: 500"),
    _year(2020, "5,000 images and questions: 4,000 / 500 / 500"),
    _year(2021, "5,500 images and questions: 4,500 / 500 / 500"),
)

"""PMC-VQA (Zhang et al., arXiv 2305.10415): multiple choice about figures of biomedical articles.

Layout (huggingface.co/datasets/RadGenome/PMC-VQA): version 2 `train_2.csv`, `test_2.csv` with `figures/` or
`images_2/`, whose `Answer` is a letter; version 1 `train.csv`, `test.csv` with `images/`, whose `Answer` is
the text and `Answer_label` the letter. Version 2 is taken where both are there; MedEvalKit scores its test.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import LETTERS, lettered, options_of, question
from medmvl.datasets.gathering.readers import below, iter_csv, text_field
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import UserError
from medmvl.schema import ImageBlock
from medmvl.tasks.benchmark import Benchmark

VERSIONS = (
    {"train_2.csv": "train", "test_2.csv": "test"},
    {"train.csv": "train", "test.csv": "test"},
)
FOLDERS = ("figures", "images_2", "images", "")


def gather(found: Collection) -> None:
    """Take every question of the newest version that is there."""
    for version in VERSIONS:
        tables = {found.raw / name: split for name, split in version.items() if (found.raw / name).is_file()}
        if tables:
            break
    else:
        raise UserError(f"{found.raw}: expected train_2.csv and test_2.csv, or train.csv and test.csv")
    for path, split in tables.items():
        for number, row in enumerate(iter_csv(found.table(path))):
            with found.record(f"{path.name}, row {number + 1}"):
                _take(found, row, f"pmc_vqa-{path.stem}-{number:06d}", split)


def _take(found: Collection, row: Mapping[str, str], id: str, split: str) -> None:
    name = text_field(row, "Figure_path")
    folders = [found.raw / folder for folder in FOLDERS]
    path = next((folder / name for folder in folders if below(folder, name).is_file()), folders[0] / name)
    options = options_of(row, "Choice {}")
    letter = text_field(row, "Answer_label", "Answer").upper()
    if letter not in LETTERS[: len(options)] or len(letter) != 1:
        raise UserError(f"the answer {letter!r} is none of the letters of its {len(options)} options")
    sample = question(
        id,
        [ImageBlock(image=found.image(path))],
        f"{text_field(row, 'Question')}\n{lettered(options)}",
        letter,
        question_type="choice",
        choices=tuple(LETTERS[: len(options)]),
        more_answers=(options[LETTERS.index(letter)],),
        image_group=Path(name).stem,
        task="pmc_vqa",
    )
    found.add(sample, split)


PMC_VQA = Benchmark(
    name="pmc-vqa", title="PMC-VQA, multiple choice", data="pmc-vqa", protocol="medevalkit",
    prompts={"en": "{question}\nAnswer with the letter of the right option."},
)  # fmt: skip

DATASET = PublicDataset(
    name="pmc-vqa",
    title="PMC-VQA",
    licence="CC BY-SA 4.0 for the questions; each figure has the licence of its article",
    url="https://huggingface.co/datasets/RadGenome/PMC-VQA",
    layout="train_2.csv, test_2.csv with figures/ (version 2), or train.csv, test.csv with images/",
    size="149,075 images, 226,946 questions (version 1)",
    split=AS_PUBLISHED,
    gather=gather,
    tasks=(PMC_VQA,),
)

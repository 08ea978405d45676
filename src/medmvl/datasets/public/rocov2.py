"""ROCOv2 (Rückert et al., arXiv 2405.10004): radiological figures of open-access articles and their captions.

Layout of zenodo.org/records/8333645, as public code reads it: tables `train_captions.csv`, `valid_captions.csv` and
`test_captions.csv` with `ID` and `Caption`, and the images unzipped to `train/ID.jpg`, `valid/` and `test/`. Not checked:
the published files themselves. Concepts (`*_concepts.csv`) are not read. Which article an image is from, no table says, so
images of one patient in one article may lie in two splits.
"""

from __future__ import annotations

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import question
from medmvl.datasets.gathering.readers import below, iter_csv, text_field
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import UserError
from medmvl.schema import ImageBlock
from medmvl.tasks.benchmark import Benchmark

ASK = "Describe this radiological image."
SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def gather(found: Collection) -> None:
    """Take every captioned image."""
    tables = {part: found.raw / f"{part}_captions.csv" for part in SPLITS}
    present = {part: path for part, path in tables.items() if path.is_file()}
    if not present:
        raise UserError(f"{found.raw}: expected train_captions.csv, valid_captions.csv or test_captions.csv")
    for part, path in present.items():
        for number, row in enumerate(iter_csv(found.table(path)), start=1):
            with found.record(f"{path.name}, row {number}"):
                name = text_field(row, "ID")
                image = ImageBlock(image=found.image(below(found.raw, f"{part}/{name}.jpg")))
                caption = text_field(row, "Caption")
                found.add(
                    question(name, [image], ASK, caption, question_type="caption", task="rocov2"),
                    SPLITS[part],
                )


ROCOV2_CAPTION = Benchmark(
    name="rocov2-caption", title="ROCOv2, captions", data="rocov2", question_types=("caption",)
)

DATASET = PublicDataset(
    name="rocov2",
    title="ROCOv2",
    licence="of each article: CC BY or CC BY-NC, in license_information.csv",
    url="https://zenodo.org/records/8333645",
    layout="{train,valid,test}_captions.csv and train/, valid/, test/ with their images",
    size="79,789 images: 59,958 / 9,904 / 9,927",
    split=AS_PUBLISHED,
    gather=gather,
    tasks=(ROCOV2_CAPTION,),
)

"""MedPix captions (MPx-Single of RadFM, Wu et al., arXiv 2308.02463): one image and the text of its case.

Layout, as read by `uni_med/datasets/datasets/medpix_dataset.py` of github.com/MSIIP/Uni-Med: tables
`MedPix_single_train.csv` and `MedPix_single_test.csv` with `name`, `context`, `type` (only `caption` counts)
of huggingface.co/datasets/chaoyi-wu/RadFM_data_csv, and the images of chaoyi-wu/MedPix-Images below
`images/`.
"""

from __future__ import annotations

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import question
from medmvl.datasets.gathering.readers import below, iter_csv, text_field
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import UserError
from medmvl.schema import ImageBlock

ASK = "Describe this input image."


def gather(found: Collection) -> None:
    """Take every captioned image."""
    tables = [path for path in sorted(found.raw.glob("*.csv")) if "single" in path.name.lower()]
    if not tables:
        raise UserError(f"{found.raw}: expected MedPix_single_train.csv and MedPix_single_test.csv")
    for path in tables:
        split = "test" if "test" in path.name.lower() else "train"
        for number, row in enumerate(iter_csv(found.table(path))):
            if row.get("type") != "caption":
                continue
            with found.record(f"{path.name}, row {number + 1}"):
                name = text_field(row, "name")
                sample = question(
                    f"medpix-{split}-{number:06d}",
                    [ImageBlock(image=found.image(below(found.raw / "images", name)))],
                    ASK,
                    text_field(row, "context"),
                    question_type="caption",
                    image_group=name,
                    task="medpix",
                )
                found.add(sample, split)


DATASET = PublicDataset(
    name="medpix",
    title="MedPix captions (RadFM's MPx-Single)",
    licence="MedPix: for research and teaching, by the terms of the US National Library of Medicine",
    url="https://huggingface.co/datasets/chaoyi-wu/RadFM_data_csv",
    layout="MedPix_single_train.csv, MedPix_single_test.csv and images/",
    size="as published by RadFM",
    split=AS_PUBLISHED,
    gather=gather,
)

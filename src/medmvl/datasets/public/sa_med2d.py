"""SA-Med2D-20M (Ye et al., arXiv 2311.11969) as named boxes, in the form Uni-Med published (figshare 27265386).

Layout, as read by `uni_med/datasets/datasets/sa_med_dataset.py` of github.com/MSIIP/Uni-Med: images
`images/<modality>/<id>.png` and regions `train/<modality>/<id>.json` and `test/<modality>/<id>.json`, each
`[{"liver": [x, y, width, height]}, ...]`. Ids are `modality--set--case--plane_slice`: the case is the patient.
"""

from __future__ import annotations

from pathlib import Path

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.readers import load_records
from medmvl.datasets.gathering.regions import Region, add_regions, half_open
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import UserError
from medmvl.tasks.benchmark import Benchmark

SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
FOLDERS = ("images", "image", "imgs")


def gather(found: Collection) -> None:
    """Take the regions of every image."""
    images = next((found.raw / name for name in FOLDERS if (found.raw / name).is_dir()), None)
    folders = [found.raw / name for name in SPLITS if (found.raw / name).is_dir()]
    if images is None or not folders:
        raise UserError(f"{found.raw}: expected images/<modality>/*.png and train/, test/ with regions")
    for folder in folders:
        for path in sorted(folder.glob("*/*.json")):
            with found.record(path.relative_to(found.raw).as_posix()):
                _take(found, path, images, SPLITS[folder.name])


def _take(found: Collection, path: Path, images: Path, split: str) -> None:
    modality = path.parent.name
    image = found.image(images / modality / f"{path.stem}.png")
    regions = [
        Region(label, half_open(box, found.size(image)))
        for entry in load_records(path)
        for label, box in entry.items()
    ]
    case = path.stem.split("--")
    patient = "--".join(case[:3]) if len(case) >= 4 else None
    add_regions(
        found,
        f"sa_med2d-{modality}-{path.stem}",
        image,
        regions,
        split,
        task="sa_med2d",
        patient=None if patient is None else f"sa-med2d:{patient}",
    )


SA_MED2D_REFER = Benchmark(
    name="sa-med2d-refer", title="SA-Med2D, referring expression comprehension", data="sa-med2d",
    question_types=("refer",), protocol="unimed",
)  # fmt: skip
SA_MED2D_IDENTIFY = Benchmark(
    name="sa-med2d-identify", title="SA-Med2D, referring expression generation", data="sa-med2d",
    question_types=("identify",), protocol="unimed",
)  # fmt: skip

DATASET = PublicDataset(
    name="sa-med2d",
    title="SA-Med2D-20M as named boxes, in the form of Uni-Med",
    licence="CC BY-NC-SA 4.0",
    url="https://doi.org/10.6084/m9.figshare.27265386",
    layout="images/<modality>/*.png and {train,test}/<modality>/*.json with [{name: [x, y, width, height]}]",
    size="as published by Uni-Med",
    split=AS_PUBLISHED,
    gather=gather,
    tasks=(
        SA_MED2D_REFER,
        SA_MED2D_IDENTIFY,
    ),
)

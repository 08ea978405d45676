"""MedMNIST v2 (Yang et al., Scientific Data 2023), 2D sets: one category a picture, chosen from all of them.

Layout (zenodo.org/records/10519652): `<set>.npz` or `<set>_224.npz` with `train_images`, `train_labels` and
the same for `val` and `test`; the largest size of a set is taken. Names of categories: `medmnist/info.py` of
github.com/MedMNIST/MedMNIST, "kidney-left" read as "left kidney" as in Uni-Med.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import question
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import ReadError, UserError
from medmvl.schema import ImageBlock
from medmvl.tasks.benchmark import Benchmark

SPLITS = {"train": "train", "val": "validation", "test": "test"}
ORGANS = (
    "bladder", "left femur", "right femur", "heart", "left kidney", "right kidney", "liver", "left lung",
    "right lung", "pancreas", "spleen",
)  # fmt: skip


@dataclass(frozen=True)
class Set2D:
    """What one set shows, and its categories in the order of their numbers."""

    shows: str
    categories: tuple[str, ...]


SETS: dict[str, Set2D] = {
    "pathmnist": Set2D("colon pathology image", (
        "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
        "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
    )),
    "dermamnist": Set2D("multi-source dermatoscopic image of common pigmented skin lesions", (
        "actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma",
        "benign keratosis-like lesions", "dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions",
    )),
    "octmnist": Set2D("retinal OCT image", (
        "choroidal neovascularization", "diabetic macular edema", "drusen", "normal",
    )),
    "pneumoniamnist": Set2D("chest X-ray", ("normal", "pneumonia")),
    "retinamnist": Set2D("fundus photograph, by the grade of diabetic retinopathy,", (
        "grade 0", "grade 1", "grade 2", "grade 3", "grade 4",
    )),
    "breastmnist": Set2D("breast ultrasound image", ("malignant", "normal or benign")),
    "bloodmnist": Set2D("blood cell microscope image", (
        "basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte",
        "neutrophil", "platelet",
    )),
    "tissuemnist": Set2D("kidney cortex microscope image", (
        "collecting duct or connecting tubule", "distal convoluted tubule", "glomerular endothelial cells",
        "interstitial endothelial cells", "leukocytes", "podocytes", "proximal tubule segments",
        "thick ascending limb",
    )),
    "organamnist": Set2D("axial CT image", ORGANS),
    "organcmnist": Set2D("coronal CT image", ORGANS),
    "organsmnist": Set2D("CT image", ORGANS),
}  # fmt: skip
"""Sets with one category a picture; ChestMNIST has several and is not one of them."""


def gather(found: Collection) -> None:
    """Take every picture of every set."""
    archives = _largest(found.raw)
    if not archives:
        raise UserError(f"{found.raw}: expected .npz files of {', '.join(SETS)}")
    for name, path in archives.items():
        arrays = _load(found.table(path))
        for part, split in SPLITS.items():
            _take_part(found, name, part, split, arrays)


def _largest(raw: Path) -> dict[str, Path]:
    chosen: dict[str, tuple[int, Path]] = {}
    for path in sorted(raw.glob("*.npz")):
        match = re.fullmatch(r"([a-z]+?mnist)(?:_(\d+))?", path.stem)
        if match is None or match[1] not in SETS:
            continue
        size = int(match[2] or 28)
        if size >= chosen.get(match[1], (0, path))[0]:
            chosen[match[1]] = (size, path)
    return {name: path for name, (_, path) in chosen.items()}


def _load(path: Path) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, BadZipFile) as error:
        raise UserError(f"{path}: not a readable .npz archive ({error})") from None


def _take_part(found: Collection, name: str, part: str, split: str, arrays: Any) -> None:
    keys = (f"{part}_images", f"{part}_labels")
    if not set(keys) <= set(arrays.files):
        raise UserError(f"{name}: no {' and '.join(keys)}; the archive has {', '.join(arrays.files)}")
    images, labels = (arrays[key] for key in keys)
    if labels.dtype.kind not in "iu" or labels.ndim not in (1, 2):
        raise UserError(
            f"{name}: {keys[1]} are {labels.dtype} of shape {labels.shape}; expected whole numbers"
        )
    if len(images) != len(labels):
        raise UserError(f"{name}: {len(images)} {keys[0]}, but {len(labels)} {keys[1]}")
    for number, (image, label) in enumerate(zip(images, labels.reshape(len(labels), -1), strict=True)):
        with found.record(f"{name}, {part} {number}"):
            _take(found, name, f"{split}_{number:06d}", split, image, label)


def _take(
    found: Collection, name: str, number: str, split: str, image: NDArray[Any], label: Sequence[Any]
) -> None:
    categories = SETS[name].categories
    if len(label) != 1 or not 0 <= int(label[0]) < len(categories):
        raise UserError(f"the label {list(label)} is none of {len(categories)} categories")
    picture = found.picture(f"{name}/{number}.png", _png(image))
    sample = question(
        f"medmnist-{name}-{number}",
        [ImageBlock(image=picture)],
        ask(name),
        categories[int(label[0])],
        kind=f"class_{name}",
        choices=categories,
        image_group=f"{name}/{number}",
        task="medmnist",
    )
    found.add(sample, split)


def ask(name: str) -> str:
    """The question of a set, with its categories, as Uni-Med words it."""
    *others, last = SETS[name].categories
    listed = f"{', '.join(others)}{',' if len(others) > 1 else ''} or {last}"
    return f"Which category does this {SETS[name].shows} belong to: {listed}?"


def _png(image: NDArray[Any]) -> bytes:
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise ReadError(f"expected 8-bit pixels, found {image.dtype} of shape {image.shape}")
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


MEDMNIST = Benchmark(
    name="medmnist", title="MedMNIST, all sets that were converted", data="medmnist", kinds=("class_*",),
)  # fmt: skip
MEDMNIST_DERMA = Benchmark(
    name="medmnist-derma", title="DermaMNIST, 7 categories", data="medmnist", kinds=("class_dermamnist",),
    protocol="unimed",
)  # fmt: skip
MEDMNIST_ORGANS = Benchmark(
    name="medmnist-organs", title="OrganSMNIST, 11 categories", data="medmnist",
    kinds=("class_organsmnist",), protocol="unimed",
)  # fmt: skip

DATASET = PublicDataset(
    name="medmnist",
    title="MedMNIST v2, 2D sets with one category a picture",
    licence="CC BY 4.0; DermaMNIST: CC BY-NC 4.0",
    url="https://medmnist.com",
    layout="dermamnist_224.npz, organsmnist_224.npz and others, any size",
    size="DermaMNIST 7,007 / 1,003 / 2,005; OrganSMNIST 13,932 / 2,452 / 8,827",
    split=AS_PUBLISHED,
    gather=gather,
    tasks=(
        MEDMNIST,
        MEDMNIST_DERMA,
        MEDMNIST_ORGANS,
    ),
)

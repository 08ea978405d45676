"""MedMNIST v2 (Yang et al., Scientific Data 2023): one category per image or small volume, chosen from all of them.

Layout (zenodo.org/records/10519652): `<set>.npz` or `<set>_224.npz` (3D: `_64`) with `train_images`, `train_labels` and
the same for `val` and `test`; the largest size of a set is taken. Volumes say neither orientation nor spacing nor units.
Names of categories: `medmnist/info.py` of
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
from medmvl.schema import ImageBlock, VolumeBlock
from medmvl.tasks.benchmark import Benchmark

SPLITS = {"train": "train", "val": "validation", "test": "test"}
ORGANS = (
    "bladder", "left femur", "right femur", "heart", "left kidney", "right kidney", "liver", "left lung",
    "right lung", "pancreas", "spleen",
)  # fmt: skip


@dataclass(frozen=True)
class MedMNISTSet:
    """What one set shows, and its categories in the order of their numbers."""

    shows: str
    categories: tuple[str, ...]
    modality: str | None = None
    """DICOM's code; for volumes only."""
    volumes: bool = False


SETS: dict[str, MedMNISTSet] = {
    "pathmnist": MedMNISTSet("colon pathology image", (
        "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa",
        "cancer-associated stroma", "colorectal adenocarcinoma epithelium",
    )),
    "dermamnist": MedMNISTSet("multi-source dermatoscopic image of common pigmented skin lesions", (
        "actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma",
        "benign keratosis-like lesions", "dermatofibroma", "melanoma", "melanocytic nevi", "vascular lesions",
    )),
    "octmnist": MedMNISTSet("retinal OCT image", (
        "choroidal neovascularization", "diabetic macular edema", "drusen", "normal",
    )),
    "pneumoniamnist": MedMNISTSet("chest X-ray", ("normal", "pneumonia")),
    "retinamnist": MedMNISTSet("fundus photograph, by the grade of diabetic retinopathy,", (
        "grade 0", "grade 1", "grade 2", "grade 3", "grade 4",
    )),
    "breastmnist": MedMNISTSet("breast ultrasound image", ("malignant", "normal or benign")),
    "bloodmnist": MedMNISTSet("blood cell microscope image", (
        "basophil", "eosinophil", "erythroblast", "immature granulocytes", "lymphocyte", "monocyte",
        "neutrophil", "platelet",
    )),
    "tissuemnist": MedMNISTSet("kidney cortex microscope image", (
        "collecting duct or connecting tubule", "distal convoluted tubule", "glomerular endothelial cells",
        "interstitial endothelial cells", "leukocytes", "podocytes", "proximal tubule segments",
        "thick ascending limb",
    )),
    "organamnist": MedMNISTSet("axial CT image", ORGANS),
    "organcmnist": MedMNISTSet("coronal CT image", ORGANS),
    "organsmnist": MedMNISTSet("CT image", ORGANS),
    "organmnist3d": MedMNISTSet("CT volume", (
        "liver", "right kidney", "left kidney", "right femur", "left femur", "bladder", "heart", "right lung",
        "left lung", "spleen", "pancreas",
    ), "CT", volumes=True),
    "nodulemnist3d": MedMNISTSet("chest CT volume of a nodule", ("benign", "malignant"), "CT", volumes=True),
    "adrenalmnist3d": MedMNISTSet("shape of an adrenal gland", ("normal", "hyperplasia"), volumes=True),
    "fracturemnist3d": MedMNISTSet("CT volume of a rib fracture", (
        "buckle rib fracture", "nondisplaced rib fracture", "displaced rib fracture",
    ), "CT", volumes=True),
    "vesselmnist3d": MedMNISTSet("shape of a brain vessel from MR angiography", ("vessel", "aneurysm"), volumes=True),
    "synapsemnist3d": MedMNISTSet("electron microscope volume of a synapse", (
        "inhibitory synapse", "excitatory synapse",
    ), volumes=True),
}  # fmt: skip
"""Sets with one category per image or volume; ChestMNIST has several and is not one of them."""


def gather(found: Collection) -> None:
    """Take every image and volume of every set."""
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
        match = re.fullmatch(r"([a-z]+?mnist(?:3d)?)(?:_(\d+))?", path.stem)
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
    sample = question(
        f"medmnist-{name}-{number}",
        [_block(found, name, number, image)],
        ask(name),
        categories[int(label[0])],
        question_type=f"class_{name}",
        choices=categories,
        image_group=f"{name}/{number}",
        task="medmnist",
    )
    found.add(sample, split)


def _block(found: Collection, name: str, number: str, image: NDArray[Any]) -> ImageBlock | VolumeBlock:
    """Write an image as PNG or a volume as `.npy`, `(D, H, W)` as the archive holds it."""
    if not SETS[name].volumes:
        return ImageBlock(image=found.image_from_bytes(f"{name}/{number}.png", _png(image)))
    if image.dtype != np.uint8 or image.ndim != 3:
        raise ReadError(f"expected volumes of 8-bit voxels, found {image.dtype} of shape {image.shape}")
    target = found.folder / "volumes" / name / f"{number}.npy"
    target.parent.mkdir(parents=True, exist_ok=True)
    np.save(target, image, allow_pickle=False)
    reference = found.written(f"volumes/{name}/{number}.npy")
    return VolumeBlock(volume=reference, units="arbitrary", modality=SETS[name].modality)


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
    name="medmnist", title="MedMNIST, all sets that were converted", data="medmnist", question_types=("class_*",),
)  # fmt: skip
MEDMNIST_DERMA = Benchmark(
    name="medmnist-derma", title="DermaMNIST, 7 categories", data="medmnist", question_types=("class_dermamnist",),
    protocol="unimed",
)  # fmt: skip
MEDMNIST_ORGANS = Benchmark(
    name="medmnist-organs", title="OrganSMNIST, 11 categories", data="medmnist",
    question_types=("class_organsmnist",), protocol="unimed",
)  # fmt: skip

DATASET = PublicDataset(
    name="medmnist",
    title="MedMNIST v2, sets with one category per image or volume",
    licence="CC BY 4.0; DermaMNIST: CC BY-NC 4.0",
    url="https://medmnist.com",
    layout="dermamnist_224.npz, organsmnist_224.npz, nodulemnist3d_64.npz and others, any size",
    size="DermaMNIST 7,007 / 1,003 / 2,005; OrganSMNIST 13,932 / 2,452 / 8,827",
    split=AS_PUBLISHED,
    gather=gather,
    tasks=(
        MEDMNIST,
        MEDMNIST_DERMA,
        MEDMNIST_ORGANS,
    ),
)

"""Uni-Med (Zhu et al., NeurIPS 2024, arXiv 2409.17508): its questions' wording, and the ratios of its mixture.

A batch of Uni-Med draws the data set with a probability in proportion to the ratio, whatever its size. Wording
and ratios: `uni_med/datasets/datasets/*.py` and `train_configs/uni_med.yaml` of github.com/MSIIP/Uni-Med.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from medmvl.datasets.public.medmnist import MEDMNIST
from medmvl.datasets.public.mimic_cxr import MIMIC_CXR_REPORT
from medmvl.datasets.public.path_vqa import PATH_VQA
from medmvl.datasets.public.sa_med2d import SA_MED2D_IDENTIFY, SA_MED2D_REFER
from medmvl.datasets.public.slake import SLAKE_EN, SLAKE_IDENTIFY, SLAKE_REFER
from medmvl.datasets.records import SampleFile
from medmvl.errors import UserError
from medmvl.json_types import JsonObject
from medmvl.tasks.benchmark import Benchmark

SHORT_ANSWER = {"en": "[vqa] Based on the image, respond to this question with a short answer: {question}"}
QA = {"en": "[qa] {question}"}

UNIMED_SLAKE = replace(SLAKE_EN, name="unimed-slake", title="SLAKE as Uni-Med asks it", prompts=SHORT_ANSWER)
UNIMED_PATH_VQA = replace(
    PATH_VQA, name="unimed-path-vqa", title="PathVQA as Uni-Med asks it", prompts=SHORT_ANSWER
)
UNIMED_MIMIC = replace(
    MIMIC_CXR_REPORT, name="unimed-mimic", title="MIMIC-CXR as Uni-Med asks it", protocol="unimed",
    prompts={"en": "[caption] Describe the given chest x-ray image in detail."},
)  # fmt: skip
UNIMED_MEDMNIST = replace(
    MEDMNIST, name="unimed-medmnist", title="DermaMNIST and OrganSMNIST as Uni-Med asks them",
    question_types=("class_dermamnist", "class_organsmnist"), protocol="unimed",
    prompts={"en": "[cls] {question}"},
)  # fmt: skip
UNIMED_MEDPIX = Benchmark(
    name="unimed-medpix", title="MedPix captions as Uni-Med asks them", data="medpix", protocol="unimed",
    prompts={"en": "[caption] Describe this input image."},
)  # fmt: skip
UNIMED_MEDQA = Benchmark(
    name="unimed-medqa", title="MedQA (US), text only, as Uni-Med asks it", data="medqa", prompts=QA
)  # fmt: skip
UNIMED_PUBMEDQA = Benchmark(
    name="unimed-pubmedqa", title="PubMedQA, text only, as Uni-Med asks it", data="pubmedqa", prompts=QA,
)  # fmt: skip

TASKS = (
    UNIMED_SLAKE,
    UNIMED_PATH_VQA,
    UNIMED_MIMIC,
    UNIMED_MEDMNIST,
    UNIMED_MEDPIX,
    UNIMED_MEDQA,
    UNIMED_PUBMEDQA,
)

MIXTURE: tuple[tuple[Benchmark, float], ...] = (
    (UNIMED_MEDQA, 2),
    (UNIMED_PUBMEDQA, 2),
    (UNIMED_SLAKE, 5),
    (UNIMED_PATH_VQA, 5),
    (SLAKE_REFER, 4),
    (SLAKE_IDENTIFY, 4),
    (SA_MED2D_REFER, 4),
    (SA_MED2D_IDENTIFY, 4),
    (UNIMED_MEDPIX, 8),
    (UNIMED_MIMIC, 8),
    (UNIMED_MEDMNIST, 4),
)
"""Tasks with their sampling ratio."""
UNIMED_RATIOS: Mapping[str, float] = {task.name: ratio for task, ratio in MIXTURE}


def mixture_weights(ratios: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    """Return the weight (passes per epoch) of each source so that samples are drawn by the ratios.

    An epoch keeps as many samples as the sources have together.

    Args:
        ratios: task to ratio; only those in `sizes` count.
        sizes: task to number of training samples.

    Raises:
        KeyError: for a size without a ratio.
    """
    total = sum(sizes.values())
    share = sum(ratios[name] for name in sizes)
    return {name: ratios[name] / share * total / size for name, size in sizes.items()}


def unimed_sources(folder: Path) -> tuple[list[JsonObject], list[str]]:
    """Return the mixture as sources of a recipe's `data.train`, and the tasks without converted data.

    Args:
        folder: holds what `medmvl data convert NAME RAW folder/NAME` wrote.

    Raises:
        UserError: where there is none of it.
    """
    sizes, sources = {}, []
    for task, _ in MIXTURE:
        path = folder / task.data / "train.jsonl"
        count = sum(1 for _ in task.indices(SampleFile(path))) if path.is_file() else 0
        if count:
            sizes[task.name] = count
            sources.append({"path": str(path), "task": task.name})
    if not sizes:
        wanted = sorted({task.data for task, _ in MIXTURE})
        raise UserError(f"{folder}: no converted data in it; expected folders named {', '.join(wanted)}")
    weights = mixture_weights(UNIMED_RATIOS, sizes)
    weighted = [{**source, "weight": float(f"{weights[source['task']]:.6g}")} for source in sources]
    return weighted, [task.name for task, _ in MIXTURE if task.name not in sizes]

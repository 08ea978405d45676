"""Uni-Med (Zhu et al., NeurIPS 2024, arXiv 2409.17508): its questions' wording, and the ratios of its mixture.

A batch of Uni-Med draws the data set with a probability in proportion to the ratio, whatever its size. Wording
and ratios: `uni_med/datasets/datasets/*.py` and `train_configs/uni_med.yaml` of github.com/MSIIP/Uni-Med.
"""

from collections.abc import Mapping
from dataclasses import replace

from medmvl.tasks.benchmark import Benchmark
from medmvl.tasks.benchmarks.chest_xray_reports import MIMIC_CXR_REPORT
from medmvl.tasks.benchmarks.medmnist import MEDMNIST
from medmvl.tasks.benchmarks.path_vqa import PATH_VQA
from medmvl.tasks.benchmarks.slake import SLAKE_EN

SHORT_ANSWER = {"en": "[vqa] Based on the image, respond to this question with a short answer: {question}"}
QA = {"en": "[qa] {question}"}

UNIMED_SLAKE = replace(SLAKE_EN, name="unimed-slake", title="SLAKE as Uni-Med asks it", prompts=SHORT_ANSWER)
UNIMED_PATH_VQA = replace(
    PATH_VQA, name="unimed-path-vqa", title="PathVQA as Uni-Med asks it", prompts=SHORT_ANSWER
)
UNIMED_MIMIC = replace(
    MIMIC_CXR_REPORT, name="unimed-mimic", title="MIMIC-CXR as Uni-Med asks it", protocol="unimed",
    prompts={"en": "[caption] Describe the given chest x-ray image in detail."}, metrics=("bleu-1",),
)  # fmt: skip
UNIMED_MEDMNIST = replace(
    MEDMNIST, name="unimed-medmnist", title="DermaMNIST and OrganSMNIST as Uni-Med asks them",
    kinds=("class_dermamnist", "class_organsmnist"), protocol="unimed",
    prompts={"en": "[cls] {question}"},
)  # fmt: skip
UNIMED_MEDPIX = Benchmark(
    name="unimed-medpix", title="MedPix captions as Uni-Med asks them", data="medpix", protocol="unimed",
    prompts={"en": "[caption] Describe this input image."}, metrics=("bleu-1",),
)  # fmt: skip
UNIMED_MEDQA = Benchmark(
    name="unimed-medqa", title="MedQA (US), text only, as Uni-Med asks it", data="medqa", prompts=QA
)  # fmt: skip
UNIMED_PUBMEDQA = Benchmark(
    name="unimed-pubmedqa", title="PubMedQA, text only, as Uni-Med asks it", data="pubmedqa", prompts=QA,
    metrics=("accuracy",),
)  # fmt: skip

UNIMED_RATIOS: Mapping[str, float] = {
    "unimed-medqa": 2,
    "unimed-pubmedqa": 2,
    "unimed-slake": 5,
    "unimed-path-vqa": 5,
    "slake-refer": 4,
    "slake-identify": 4,
    "sa-med2d-refer": 4,
    "sa-med2d-identify": 4,
    "unimed-medpix": 8,
    "unimed-mimic": 8,
    "unimed-medmnist": 4,
}
"""Task to sampling ratio."""


def mixture_weights(ratios: Mapping[str, float], sizes: Mapping[str, int]) -> dict[str, float]:
    """Return the weight (passes an epoch) of each source so that samples are drawn by the ratios.

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

"""MedMNIST v2 (Yang et al., Scientific Data 2023): one category a picture, asked with all categories named."""

from medmvl.tasks.benchmark import Benchmark

MEDMNIST = Benchmark(
    name="medmnist", title="MedMNIST, all sets that were converted", data="medmnist", kinds=("class_*",),
    metrics=("accuracy", "balanced_accuracy", "macro_f1"),
)  # fmt: skip
MEDMNIST_DERMA = Benchmark(
    name="medmnist-derma", title="DermaMNIST, 7 categories", data="medmnist", kinds=("class_dermamnist",),
    protocol="unimed", metrics=("accuracy", "balanced_accuracy", "macro_f1"),
)  # fmt: skip
MEDMNIST_ORGANS = Benchmark(
    name="medmnist-organs", title="OrganSMNIST, 11 categories", data="medmnist",
    kinds=("class_organsmnist",), protocol="unimed", metrics=("accuracy", "balanced_accuracy", "macro_f1"),
)  # fmt: skip

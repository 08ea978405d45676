"""PathVQA (He et al., arXiv 2003.10286): questions about pathology figures of textbooks."""

from medmvl.tasks.benchmark import Benchmark

PATH_VQA = Benchmark(
    name="path-vqa", title="PathVQA, open and yes/no questions", data="path-vqa", protocol="unimed",
    metrics=("bleu-1", "accuracy", "token_f1"),
)  # fmt: skip

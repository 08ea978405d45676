"""PMC-VQA (Zhang et al., arXiv 2305.10415): multiple choice about figures of biomedical articles."""

from medmvl.tasks.benchmark import Benchmark

PMC_VQA = Benchmark(
    name="pmc-vqa", title="PMC-VQA, multiple choice", data="pmc-vqa", protocol="medevalkit",
    prompts={"en": "{question}\nAnswer with the letter of the right option."}, metrics=("accuracy",),
)  # fmt: skip

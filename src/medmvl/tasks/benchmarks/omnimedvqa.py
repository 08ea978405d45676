"""OmniMedVQA (Hu et al., CVPR 2024), open-access part: multiple choice over 42 data sets and eight modalities."""

from medmvl.tasks.benchmark import Benchmark

OMNIMEDVQA = Benchmark(
    name="omnimedvqa", title="OmniMedVQA, multiple choice, open-access part", data="omnimedvqa",
    prompts={"en": "{question}\nAnswer with the letter of the right option."}, protocol="medevalkit",
    metrics=("accuracy",),
)  # fmt: skip

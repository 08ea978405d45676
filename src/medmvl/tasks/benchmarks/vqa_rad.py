"""VQA-RAD (Lau et al., Scientific Data 2018): questions of clinicians about radiographs, CT and MR pictures."""

from medmvl.tasks.benchmark import Benchmark

VQA_RAD = Benchmark(
    name="vqa-rad", title="VQA-RAD, open and closed questions", data="vqa-rad", protocol="medevalkit"
)  # fmt: skip

"""M3D (Bai et al., arXiv 2404.00578): captions of 3D scans, and questions about them with and without options."""

from medmvl.tasks.benchmark import Benchmark

TEXT = ("bleu-1", "rouge-1", "meteor", "bertscore")

M3D_CAPTION = Benchmark(
    name="m3d-caption", title="M3D-Cap, reports", data="m3d", kinds=("report",), protocol="m3d", metrics=TEXT
)  # fmt: skip
M3D_CHOICE = Benchmark(
    name="m3d-choice", title="M3D-VQA, closed: four options", data="m3d", kinds=("choice_*",),
    protocol="m3d", metrics=("accuracy",),
)  # fmt: skip
M3D_OPEN = Benchmark(
    name="m3d-open", title="M3D-VQA, open", data="m3d", kinds=("open_*",), protocol="m3d", metrics=TEXT
)  # fmt: skip

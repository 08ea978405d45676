"""Synthetic patients of `medmvl.phantoms`, whose truth is exact: every type of question, 2D and 3D, two languages."""

from medmvl.tasks.benchmark import Benchmark

PHANTOMS = Benchmark(name="phantoms", title="Phantoms, CT and X-ray", data="phantoms")
PHANTOMS_EN = Benchmark(
    name="phantoms-en", title="Phantoms, English", data="phantoms", languages=("en",)
)  # fmt: skip
PHANTOMS_ZH = Benchmark(
    name="phantoms-zh", title="Phantoms, Chinese", data="phantoms", languages=("zh",)
)  # fmt: skip
PHANTOMS_CT = Benchmark(
    name="phantoms-ct", title="Phantoms, CT volumes", data="phantoms", question_types=("ct_*",)
)
PHANTOMS_XRAY = Benchmark(
    name="phantoms-xray", title="Phantoms, X-rays", data="phantoms", question_types=("xray_*",)
)  # fmt: skip
PHANTOMS_REPORT = Benchmark(
    name="phantoms-report", title="Phantoms, reports", data="phantoms", question_types=("*_report",),
)  # fmt: skip
PHANTOMS_CHOICE = Benchmark(
    name="phantoms-choice", title="Phantoms, multiple choice", data="phantoms", question_types=("*_choice",),
)  # fmt: skip
PHANTOMS_MEASURE = Benchmark(
    name="phantoms-measure", title="Phantoms, sizes, volumes and ratios", data="phantoms",
    question_types=("*_size", "*_volume", "*_ratio"),
)  # fmt: skip
PHANTOMS_CHANGE = Benchmark(
    name="phantoms-change", title="Phantoms, compared with the prior study", data="phantoms",
    question_types=("*_change",),
)  # fmt: skip

TASKS = (
    PHANTOMS,
    PHANTOMS_EN,
    PHANTOMS_ZH,
    PHANTOMS_CT,
    PHANTOMS_XRAY,
    PHANTOMS_REPORT,
    PHANTOMS_CHOICE,
    PHANTOMS_MEASURE,
    PHANTOMS_CHANGE,
)

"""SA-Med2D-20M (Ye et al., arXiv 2311.11969) as boxes with names, in the form of Uni-Med (arXiv 2409.17508)."""

from medmvl.tasks.benchmark import Benchmark

SA_MED2D_REFER = Benchmark(
    name="sa-med2d-refer", title="SA-Med2D, referring expression comprehension", data="sa-med2d",
    kinds=("refer",), protocol="unimed", metrics=("iou", "acc@0.5"),
)  # fmt: skip
SA_MED2D_IDENTIFY = Benchmark(
    name="sa-med2d-identify", title="SA-Med2D, referring expression generation", data="sa-med2d",
    kinds=("identify",), protocol="unimed", metrics=("bleu-1", "token_f1", "exact_match"),
)  # fmt: skip

"""3D-RAD (Gai et al., NeurIPS 2025, arXiv 2506.11147): six tasks on CT-RATE volumes, one of them longitudinal."""

from medmvl.tasks.benchmark import Benchmark

TEXT = ("bleu-1", "rouge-1", "bertscore")

RAD_3D = Benchmark(name="3d-rad", title="3D-RAD, all six tasks", data="3d-rad", protocol="3d-rad")
RAD_3D_OBSERVATION = Benchmark(
    name="3d-rad-observation", title="3D-RAD 1, image observation", data="3d-rad", kinds=("observation",),
    protocol="3d-rad", metrics=TEXT,
)  # fmt: skip
RAD_3D_ANOMALY = Benchmark(
    name="3d-rad-anomaly", title="3D-RAD 2, anomaly detection", data="3d-rad", kinds=("anomaly",),
    protocol="3d-rad", metrics=TEXT,
)  # fmt: skip
RAD_3D_COMPUTATION = Benchmark(
    name="3d-rad-computation", title="3D-RAD 3, medical computation", data="3d-rad",
    kinds=("computation",), protocol="3d-rad", metrics=TEXT,
)  # fmt: skip
RAD_3D_EXISTENCE = Benchmark(
    name="3d-rad-existence", title="3D-RAD 4, existence detection", data="3d-rad", kinds=("existence",),
    protocol="3d-rad", metrics=("accuracy",),
)  # fmt: skip
RAD_3D_STATIC = Benchmark(
    name="3d-rad-static", title="3D-RAD 5, static temporal diagnosis", data="3d-rad", kinds=("static",),
    protocol="3d-rad", metrics=("accuracy",),
)  # fmt: skip
RAD_3D_LONGITUDINAL = Benchmark(
    name="3d-rad-longitudinal", title="3D-RAD 6, longitudinal temporal diagnosis, with prior volumes",
    data="3d-rad", kinds=("longitudinal",), protocol="3d-rad", metrics=("accuracy",),
)  # fmt: skip

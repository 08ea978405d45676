"""Reports of chest X-rays: IU-Xray (Demner-Fushman et al. 2016) and MIMIC-CXR (Johnson et al. 2019)."""

from medmvl.tasks.benchmark import Benchmark

METRICS = ("rouge-l", "bleu-1", "bleu-4", "meteor", "cider", "chexpert_f1")

IU_XRAY_REPORT = Benchmark(
    name="iu-xray-report", title="IU-Xray, findings and impression", data="iu-xray", kinds=("report",),
    protocol="medevalkit", metrics=METRICS,
)  # fmt: skip
MIMIC_CXR_REPORT = Benchmark(
    name="mimic-cxr-report", title="MIMIC-CXR, findings and impression", data="mimic-cxr",
    kinds=("report",), protocol="medevalkit", metrics=METRICS,
)  # fmt: skip

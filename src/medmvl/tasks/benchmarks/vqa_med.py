"""VQA-Med (Ben Abacha et al., ImageCLEF 2019, 2020 and 2021): modality, plane, organ and abnormality."""

from medmvl.tasks.benchmark import Benchmark

METRICS = ("exact_match", "bleu-1")

VQA_MED_2019 = Benchmark(name="vqa-med-2019", title="VQA-Med 2019", data="vqa-med-2019", metrics=METRICS)
VQA_MED_2020 = Benchmark(name="vqa-med-2020", title="VQA-Med 2020", data="vqa-med-2020", metrics=METRICS)
VQA_MED_2021 = Benchmark(name="vqa-med-2021", title="VQA-Med 2021", data="vqa-med-2021", metrics=METRICS)

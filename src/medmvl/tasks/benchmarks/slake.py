"""SLAKE (Liu et al., ISBI 2021): questions in English and Chinese, and the place of organs and lesions.

The boxes are asked both ways, in the words and the 0-100 notation of Uni-Med (arXiv 2409.17508).
"""

from medmvl.tasks.benchmark import Benchmark

QUESTIONS = ("open", "closed")

SLAKE = Benchmark(
    name="slake", title="SLAKE, English and Chinese", data="slake", kinds=QUESTIONS, protocol="medevalkit"
)  # fmt: skip
SLAKE_EN = Benchmark(
    name="slake-en", title="SLAKE, English", data="slake", kinds=QUESTIONS, languages=("en",),
    protocol="unimed", metrics=("bleu-1", "accuracy", "token_f1"),
)  # fmt: skip
SLAKE_ZH = Benchmark(
    name="slake-zh", title="SLAKE, Chinese", data="slake", kinds=QUESTIONS, languages=("zh",),
    protocol="medevalkit",
)  # fmt: skip
SLAKE_REFER = Benchmark(
    name="slake-refer", title="SLAKE, referring expression comprehension", data="slake", kinds=("refer",),
    protocol="unimed", metrics=("iou", "acc@0.5"),
)  # fmt: skip
SLAKE_IDENTIFY = Benchmark(
    name="slake-identify", title="SLAKE, referring expression generation", data="slake",
    kinds=("identify",), protocol="unimed", metrics=("bleu-1", "token_f1", "exact_match"),
)  # fmt: skip

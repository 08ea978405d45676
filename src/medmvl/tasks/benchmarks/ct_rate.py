"""CT-RATE (Hamamci et al., arXiv 2403.17834): chest CT with reports, four kinds of question, and conversations.

The 18 abnormalities stand in `Sample.labels` of every sample. Volumes share the report of their study: the
study form keeps one volume of each (1,564 studies instead of 3,039 validation volumes).
"""

from medmvl.tasks.benchmark import Benchmark

REPORT = ("bleu-1", "bleu-4", "rouge-l", "meteor", "bertscore", "finding_f1", "crg")
TEXT = ("bleu-1", "rouge-l", "meteor", "bertscore")

CT_RATE_REPORT = Benchmark(
    name="ct-rate-report", title="CT-RATE, report of every volume", data="ct-rate", kinds=("report",),
    protocol="medmvl-ctrate", metrics=REPORT,
)  # fmt: skip
CT_RATE_REPORT_STUDY = Benchmark(
    name="ct-rate-report-study", title="CT-RATE, report, one volume a study", data="ct-rate",
    kinds=("report",), protocol="vlm3d", metrics=REPORT, one_per="study",
)  # fmt: skip
CT_RATE_LONG = Benchmark(
    name="ct-rate-long", title="CT-RATE, long answers", data="ct-rate", kinds=("long",),
    protocol="medmvl-ctrate", metrics=TEXT,
)  # fmt: skip
CT_RATE_SHORT = Benchmark(
    name="ct-rate-short", title="CT-RATE, short answers", data="ct-rate", kinds=("short",),
    protocol="medmvl-ctrate", metrics=TEXT,
)  # fmt: skip
CT_RATE_CHOICE = Benchmark(
    name="ct-rate-choice", title="CT-RATE, multiple choice", data="ct-rate", kinds=("choice",),
    protocol="medmvl-ctrate", metrics=("accuracy",),
)  # fmt: skip
CT_RATE_CONVERSATION = Benchmark(
    name="ct-rate-conversation", title="CT-RATE, conversations, last turn", data="ct-rate",
    kinds=("conversation",), protocol="ctchat", metrics=TEXT,
)  # fmt: skip

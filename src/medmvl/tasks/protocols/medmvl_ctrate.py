"""`medmvl-ctrate`: CT-RATE as MedM-VL (arXiv 2504.04323) reported it: text metrics by sample, choices by substring."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medmvl.tasks.metrics.measures import Measure, MetricOptions
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.metrics.tally import mean_tally
from medmvl.tasks.protocols.base import Protocol, kept, some
from medmvl.tasks.protocols.hf_text import hf_text

_MARK = re.compile(r"\((.*?)\)")


def _text(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    places = range(len(records))
    return hf_text(records, places, len(records), options, orders=(1, 2, 3, 4), rouges=("rouge-1", "rouge-l"))


def _choice(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    """Right where the reference's first `(x)` occurs anywhere in the answer; references without one are skipped."""
    places, chosen = kept(records, lambda record: _MARK.search(record.references[0]) is not None)
    right = [float(_mark(record) in record.answer.strip()) for record in chosen]
    return [some("accuracy", mean_tally(right), places, len(records)), *_text(records, options)]


def _mark(record: Record) -> str:
    return f"({_MARK.findall(record.references[0].strip())[0]})"


MEDMVL_CTRATE = Protocol(
    name="medmvl-ctrate",
    title="CT-RATE as MedM-VL-CT-Chest reported it",
    source="MSIIP/MedM-VL, scripts/eval/ctrate/*.py",
    scorers={"report": _text, "open": _text, "closed": _text, "choice": _choice},
    quirks=(
        "text metrics are means of the samples' own values (the corpus value is shown next to them, as in its last version)",
        "a choice is right where `(x)` of the reference occurs anywhere in the answer: listing all options is right",
        "choices whose reference has no `(x)` are skipped",
    ),
)

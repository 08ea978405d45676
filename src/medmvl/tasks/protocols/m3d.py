"""`m3d`: M3D-Bench (Bai et al., arXiv 2404.00578); and `3d-rad` (Gai et al., 2025), the same but for empty answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from medmvl.tasks.metrics.grounding import Corners, parse_box
from medmvl.tasks.metrics.measures import Measure, MetricOptions, whole
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.metrics.tally import mean_tally
from medmvl.tasks.protocols.base import Protocol, kept, some
from medmvl.tasks.protocols.hf_text import hf_text


def _text(records: Sequence[Record], options: MetricOptions, *, skip_empty: bool = False) -> list[Measure]:
    places, chosen = kept(records, lambda record: bool(record.answer.strip()) or not skip_empty)
    return hf_text(chosen, places, len(records), options, orders=(1,), rouges=("rouge-1",))


def _choice(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    """Right where the letter and a full stop occur anywhere in the answer; without a known letter, skipped."""
    places, chosen = kept(records, lambda record: record.letter is not None)
    right = [float(f"{record.letter}." in record.answer) for record in chosen]
    return [some("accuracy", mean_tally(right), places, len(records))]


def enclosing_overlap(box: Corners, other: Corners) -> float:
    """Intersection over the volume of the box around both, which M3D calls IoU; at most the true IoU."""
    half = len(box) // 2
    shared = around = 1.0
    for axis in range(half):
        shared *= max(0.0, min(box[half + axis], other[half + axis]) - max(box[axis], other[axis]))
        around *= max(box[half + axis], other[half + axis]) - min(box[axis], other[axis])
    return shared / around if around > 0 else 0.0


def _refer(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    values = []
    for record in records:
        given, wanted = parse_box(record.answer, "m3d"), parse_box(record.references[0], "m3d")
        values.append(enclosing_overlap(given, wanted) if given is not None and wanted is not None else -1.0)
    return [
        whole("iou", mean_tally(values), "over the enclosing box"),
        whole("acc@0.25", mean_tally(float(value > 0.25) for value in values)),
    ]


M3D = Protocol(
    name="m3d",
    title="M3D-Bench",
    source="BAAI-DCAI/M3D, Bench/eval/*.py",
    scorers={
        "report": _text, "open": _text, "identify": _text, "closed": _text, "choice": _choice, "refer": _refer,
    },
    quirks=(
        "text metrics are means of the samples' own values; BLEU is BLEU-1",
        "a choice is right where its letter and a full stop occur anywhere: `A. B. C. D.` is always right, `A` is wrong",
        "the IoU of boxes is taken over the enclosing box, and an answer without a box counts -1",
    ),
)  # fmt: skip
RAD_3D = Protocol(
    name="3d-rad",
    title="3D-RAD",
    source="arXiv 2506.11147 and its evaluation scripts",
    scorers={
        **M3D.scorers,
        "report": partial(_text, skip_empty=True),
        "open": partial(_text, skip_empty=True),
    },
    quirks=(*M3D.quirks, "empty answers are skipped instead of scored 0"),
)

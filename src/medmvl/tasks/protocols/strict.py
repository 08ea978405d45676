"""`strict`, ours: every record counts, an empty or missing answer is wrong, closed answers are read by whole words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from medmvl.errors import UserError
from medmvl.tasks.judge import Reading, judge_record
from medmvl.tasks.metrics.measures import (
    FINDING_PARTS,
    Measure,
    MetricOptions,
    asked_for,
    findings_of,
    measure,
    whole,
)
from medmvl.tasks.metrics.record import Form, Record
from medmvl.tasks.protocols.base import Protocol

CALIBRATION = ("brier", "calibration_error")
DECISIONS: tuple[Form, ...] = ("closed", "choice", "class")
FREE_TEXT: tuple[Form, ...] = ("open", "identify")
NAMES: Mapping[Form, tuple[str, ...]] = {
    "closed": ("accuracy", "exact_match"),
    "choice": ("accuracy",),
    "class": ("accuracy", "balanced_accuracy", "macro_f1", "micro_f1"),
    "open": ("token_f1", "exact_match", "token_recall", "bleu-1", "rouge-l"),
    "identify": ("token_f1", "exact_match", "bleu-1"),
    "refer": ("iou", "acc@0.5"),
    "report": (
        "token_f1", "bleu-1", "bleu-2", "bleu-3", "bleu-4", "rouge-1", "rouge-2", "rouge-l", "meteor", "cider",
        "chrf",
    ),
}  # fmt: skip


def _measures(names: tuple[str, ...], records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    return [measure(name, [record.without_thoughts() for record in records], options) for name in names]


def _decisions(names: tuple[str, ...], records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    """Decisions, and how well the confidences next to them are calibrated where every record has one."""
    sure = all(record.confidence is not None for record in records)
    return _measures((*names, *(CALIBRATION if sure else ())), records, options)


def _free_text(names: tuple[str, ...], records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    """Text metrics, and those that something was named for."""
    return _measures((*names, *asked_for(options)), records, options)


def _report(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    """Free text, and findings where a labeler is named or fits by itself."""
    found = _free_text(NAMES["report"], records, options)
    try:
        counts = findings_of([record.without_thoughts() for record in records], options)
    except UserError:
        if options.labeler is not None:
            raise
        return found
    return found + [whole(name, part(counts)) for name, part in FINDING_PARTS.items()]


def _letter(record: Record) -> Reading:
    """The verdict by the letter: accuracy of decisions, exact match of free text."""
    found = judge_record(record.without_thoughts())
    right = found.score == 1 if found.metric == "accuracy" else found.exact
    why = f"choice: {found.parsed}" if found.parsed is not None else f"{found.metric}: {found.score:.3f}"
    return Reading("right" if right else "wrong", round(found.score, 3), why)


STRICT = Protocol(
    name="strict",
    title="MedM-VL, without quirks",
    source="this project",
    scorers={
        "refer": partial(_measures, NAMES["refer"]),
        **{form: partial(_decisions, NAMES[form]) for form in DECISIONS},
        **{form: partial(_free_text, NAMES[form]) for form in FREE_TEXT},
        "report": _report,
    },
    judge=_letter,
)

"""Every metric by the name that tasks and results use: records in, a number that can be resampled out.

A reader finds here what each name means; which of them a task reports is the task's own list. Empty and missing
answers count as wrong in all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from medmvl.errors import UserError
from medmvl.tasks.answers.choices import without_letter
from medmvl.tasks.judge import judge_record
from medmvl.tasks.labelers import CHEXPERT_FINDINGS, CT_RATE_FINDINGS, Labeler, find_labeler
from medmvl.tasks.metrics import classification
from medmvl.tasks.metrics.adapters import ADAPTERS, LLMJudge
from medmvl.tasks.metrics.bertscore import bertscore
from medmvl.tasks.metrics.bleu import bleu
from medmvl.tasks.metrics.chrf import chrf
from medmvl.tasks.metrics.cider import cider
from medmvl.tasks.metrics.findings import FindingCounts, count_findings
from medmvl.tasks.metrics.grounding import find_box, iou, unsettled_box
from medmvl.tasks.metrics.meteor import meteor, meteor_stages
from medmvl.tasks.metrics.overlap import exact_match, token_f1, token_recall
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.metrics.rouge import rouge
from medmvl.tasks.metrics.tally import Tally, mean_tally
from medmvl.tasks.metrics.text import normalise
from medmvl.tasks.metrics.tokens import find_tokenizer


@dataclass(frozen=True)
class MetricOptions:
    """Settings that some metrics need."""

    bertscore: Path | None = None
    """Folder of a local encoder for BERTScore; without it BERTScore is left out."""
    weights: Mapping[str, Path] = field(default_factory=dict)
    """Folder of weights of each adapter in `adapters.ADAPTERS` that is wanted."""
    judge: LLMJudge | None = None
    """A language model that marks answers."""
    tokenizer: str = "words"
    """Tokenizer of BLEU, METEOR and CIDEr under `strict`: a name in `tokens.TOKENIZERS`."""
    labeler: str | None = None
    """A name in `labelers.LABELERS` or the folder of a classifier; None chooses by the labels and question types."""


DEFAULTS = MetricOptions()


@dataclass(frozen=True)
class Measure:
    """One number about some records."""

    name: str
    tally: Tally
    """A row for each scored record."""
    scored: tuple[int, ...]
    """Which records were scored."""
    total: int
    """Number of all samples."""
    note: str = ""
    per_sample: bool = False
    """True where the convention reports the mean of the samples' values, not the value of the corpus."""

    @property
    def value(self) -> float:
        """The number as its convention reports it."""
        return self.tally.sample_mean() if self.per_sample else self.tally.corpus()


Metric = Callable[[Sequence[Record], MetricOptions], Measure]


def measure(name: str, records: Sequence[Record], options: MetricOptions = DEFAULTS) -> Measure:
    """One metric of some records.

    Raises:
        UserError: the name is unknown, or the metric does not fit the records.
    """
    if name not in METRICS:
        raise UserError(f"no metric '{name}'; known metrics: {', '.join(METRICS)}")
    return METRICS[name](records, options)


def whole(name: str, tally: Tally, note: str = "") -> Measure:
    """A measure that scored every record."""
    return Measure(name, tally, tuple(range(len(tally))), len(tally), note)


def _accuracy(records: Sequence[Record], options: MetricOptions) -> Measure:
    return whole("accuracy", mean_tally(judge_record(record).score for record in records))


def _per_answer(
    name: str, score: Callable[[str, Sequence[str]], float], records: Sequence[Record], options: MetricOptions
) -> Measure:
    return whole(name, mean_tally(score(record.answer, record.references) for record in records))


def _classes(
    name: str,
    count: Callable[[Sequence[str | None], Sequence[str]], Tally],
    records: Sequence[Record],
    options: MetricOptions,
) -> Measure:
    """The class an answer names against the reference; naming none or several is a miss.

    Classes are the references, in any case and punctuation; where a record has no choices, an answer that equals one names it.
    """
    classes = [_class(record.references[0]) for record in records]
    said = [_class_named(record, wanted) for record, wanted in zip(records, classes, strict=True)]
    return whole(name, count(said, classes))


def _class_named(record: Record, wanted: str) -> str:
    found = judge_record(record)
    if found.score == 1:
        return wanted
    return _class(record.answer if found.parsed is None else found.parsed)


def _class(text: str) -> str:
    return normalise(without_letter(text))


def _confidences(records: Sequence[Record]) -> tuple[list[float], list[bool]]:
    """The model's probability that its answer is right, and whether it is."""
    given = [record.confidence for record in records if record.confidence is not None]
    if len(given) < len(records):
        raise UserError("calibration needs a confidence for every record")
    return given, [judge_record(record).score == 1 for record in records]


def _brier(records: Sequence[Record], options: MetricOptions) -> Measure:
    given, right = _confidences(records)
    return whole("brier", mean_tally((p - hit) ** 2 for p, hit in zip(given, right, strict=True)))


def _calibration(records: Sequence[Record], options: MetricOptions) -> Measure:
    return whole("calibration_error", classification.calibration_error(*_confidences(records)))


def _text(
    name: str,
    compare: Callable[[Sequence[str], Sequence[Sequence[str]]], Tally],
    records: Sequence[Record],
    options: MetricOptions,
) -> Measure:
    return whole(name, compare(*texts_of(records)))


def _of_tokens(
    name: str, compare: Callable[..., Tally], records: Sequence[Record], options: MetricOptions
) -> Measure:
    tally = compare(*texts_of(records), tokenize=find_tokenizer(options.tokenizer))
    notes = [f"nltk, {meteor_stages()}"] if name == "meteor" else []
    return whole(
        name, tally, ", ".join([*notes, *([options.tokenizer] if options.tokenizer != "words" else [])])
    )


def texts_of(records: Sequence[Record]) -> tuple[list[str], list[tuple[str, ...]]]:
    """Answers and references."""
    return [record.answer for record in records], [record.references for record in records]


def _bertscore(records: Sequence[Record], options: MetricOptions) -> Measure:
    answers, references = texts_of(records)
    return whole("bertscore", bertscore(answers, references, options.bertscore), "F1, no baseline rescaling")


def _adapter(name: str, records: Sequence[Record], options: MetricOptions) -> Measure:
    answers, references = [record.answer for record in records], [record.references[0] for record in records]
    return whole(name, ADAPTERS[name].score(answers, references, options.weights.get(name)))


def _llm_judge(records: Sequence[Record], options: MetricOptions) -> Measure:
    if options.judge is None:
        raise UserError(
            "llm_judge needs a language model behind an OpenAI-compatible endpoint, and none was named"
        )
    texts = [(record.question, record.answer, record.references[0]) for record in records]
    questions, answers, references = zip(*texts, strict=True) if texts else ((), (), ())
    return whole("llm_judge", options.judge.score(questions, answers, references), options.judge.model)


def asked_for(options: MetricOptions) -> tuple[str, ...]:
    """Metrics of free text that are computed only where an option names what they need."""
    bert = ("bertscore",) if options.bertscore is not None else ()
    return (*bert, *options.weights, *(("llm_judge",) if options.judge is not None else ()))


def box_overlap(record: Record) -> float:
    """IoU of the answer's box with the reference's, both as shares of the image; 0 where no box can be read."""
    wanted, given = find_box(record.references[0]), find_box(record.answer)
    if wanted is None:
        raise UserError(
            f"sample {record.id!r}: its reference {record.references[0]!r} holds no box in a known format"
        )
    return iou(given, wanted) if given is not None and len(given) == len(wanted) else 0.0


def _iou(records: Sequence[Record], options: MetricOptions) -> Measure:
    return whole("iou", mean_tally(box_overlap(record) for record in records), _unsettled(records))


def _acc_at_half(records: Sequence[Record], options: MetricOptions) -> Measure:
    return whole("acc@0.5", mean_tally(box_overlap(record) >= 0.5 for record in records), _unsettled(records))


def _unsettled(records: Sequence[Record]) -> str:
    """How many answers hold a box whose numbers no format explains; they count as no box."""
    count = sum(unsettled_box(record.answer) for record in records)
    return (
        f"{count} of {len(records)} answers hold a box in an unknown unit (pixels?), counted as none"
        if count
        else ""
    )


def findings_of(
    records: Sequence[Record], options: MetricOptions, default: str | None = None
) -> FindingCounts:
    """Findings of the answers by a labeler against the true labels, or against the same labeler on the references.

    Args:
        records: reports.
        options: `labeler` overrides the choice.
        default: labeler where neither options nor records decide.

    Raises:
        UserError: no labeler fits.
    """
    name = options.labeler or _labeler_for(records) or default
    if name is None:
        raise UserError(
            "findings need a labeler and the records do not say which; name one: ct-rate, chexpert, phantoms or a folder"
        )
    labeler = find_labeler(name)
    truths = _truths(records, labeler)
    names = [label for label in labeler.names if any(label in truth for truth in truths)]
    return count_findings(labeler.label([record.answer for record in records]), truths, names)


def _truths(records: Sequence[Record], labeler: Labeler) -> list[dict[str, float]]:
    """The records' labels under the labeler's names, or without any those that the labeler finds in the references."""
    known = set(labeler.names)
    own = [{name: value for name, value in record.labels.items() if name in known} for record in records]
    if all(own):
        return own
    read = labeler.label([record.references[0] for record in records])
    return [
        labels or {name: said[name] for name in labeler.names} for labels, said in zip(own, read, strict=True)
    ]


def _labeler_for(records: Sequence[Record]) -> str | None:
    if all(record.question_type in ("ct_report", "xray_report") for record in records):
        return "phantoms"
    for name, rules in (("ct-rate", CT_RATE_FINDINGS), ("chexpert", CHEXPERT_FINDINGS)):
        known = {rule.name for rule in rules}
        if all(record.labels and len(known & set(record.labels)) > len(known) // 2 for record in records):
            return name
    return None


FINDING_PARTS: dict[str, Callable[[FindingCounts], Tally]] = {
    "finding_f1": lambda found: found.macro("f1"),
    "finding_precision": lambda found: found.macro("precision"),
    "finding_recall": lambda found: found.macro("recall"),
    "finding_micro_f1": lambda found: found.micro("f1"),
    "crg": lambda found: found.crg(),
}
"""Numbers that one labelling of the reports gives."""


def _finding(name: str, default: str | None, records: Sequence[Record], options: MetricOptions) -> Measure:
    part = FINDING_PARTS["finding_f1" if name == "chexpert_f1" else name]
    return whole(name, part(findings_of(records, options, default)))


METRICS: dict[str, Metric] = {
    "accuracy": _accuracy,
    "exact_match": partial(_per_answer, "exact_match", exact_match),
    "token_f1": partial(_per_answer, "token_f1", token_f1),
    "token_recall": partial(_per_answer, "token_recall", token_recall),
    "balanced_accuracy": partial(_classes, "balanced_accuracy", classification.balanced_accuracy),
    "macro_f1": partial(_classes, "macro_f1", classification.macro_f1),
    "micro_f1": partial(_classes, "micro_f1", classification.micro_f1),
    "brier": _brier,
    "calibration_error": _calibration,
    "bleu-1": partial(_of_tokens, "bleu-1", partial(bleu, order=1)),
    "bleu-2": partial(_of_tokens, "bleu-2", partial(bleu, order=2)),
    "bleu-3": partial(_of_tokens, "bleu-3", partial(bleu, order=3)),
    "bleu-4": partial(_of_tokens, "bleu-4", partial(bleu, order=4)),
    "rouge-1": partial(_text, "rouge-1", partial(rouge, variant="rouge-1")),
    "rouge-2": partial(_text, "rouge-2", partial(rouge, variant="rouge-2")),
    "rouge-l": partial(_text, "rouge-l", partial(rouge, variant="rouge-l")),
    "meteor": partial(_of_tokens, "meteor", meteor),
    "cider": partial(_of_tokens, "cider", cider),
    "chrf": partial(_text, "chrf", chrf),
    "bertscore": _bertscore,
    **{name: partial(_adapter, name) for name in ADAPTERS},
    "llm_judge": _llm_judge,
    "iou": _iou,
    "acc@0.5": _acc_at_half,
    **{name: partial(_finding, name, None) for name in FINDING_PARTS},
    "chexpert_f1": partial(_finding, "chexpert_f1", "chexpert"),
    "crg": partial(_finding, "crg", "ct-rate"),
}
"""Name to metric. `finding_*` are means over the labels that occur, unless they say micro."""

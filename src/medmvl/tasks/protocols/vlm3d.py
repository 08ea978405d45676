"""`vlm3d`: report generation of the VLM3D challenge: findings by a classifier, CRG, and pycocoevalcap's text metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from medmvl.tasks.metrics.bleu import bleu
from medmvl.tasks.metrics.cider import cider
from medmvl.tasks.metrics.findings import FindingCounts
from medmvl.tasks.metrics.measures import Measure, MetricOptions, findings_of, whole
from medmvl.tasks.metrics.meteor import meteor, meteor_stages
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.metrics.rouge import coco_rouge_l
from medmvl.tasks.metrics.tally import Floats, Tally
from medmvl.tasks.protocols.base import Protocol, kept, some

LABELER = "ct-rate"


def clean_reference(text: str) -> str:
    """As the challenge writes its references."""
    return text.replace("\n", "").replace(" . ", ".").replace(" .", ".")


def clean_answer(text: str) -> str:
    """As the challenge writes answers: references' rules, and without special tokens, quotes and underscores."""
    for mark in ("<|eot_id|>", '"', "_"):
        text = text.replace(mark, "")
    return clean_reference(text)


def _report(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    counts = findings_of(records, options, LABELER)
    note = options.labeler or "rule labeler; theirs is RadBERT"
    return [*_findings(counts, note), *_text(records)]


def _findings(counts: FindingCounts, note: str) -> list[Measure]:
    named = {"finding_f1": "f1", "finding_precision": "precision", "finding_recall": "recall"}
    found = [whole(name, counts.macro(what, all_labels=True), note) for name, what in named.items()]
    found.append(whole("crg", counts.crg(), note))
    return found + [whole(f"f1 {name}", counts.label(name, "f1"), note) for name in counts.names]


def _text(records: Sequence[Record]) -> list[Measure]:
    """Only reports that are there: findings of a missing report are all absent, its text is left out."""
    places, chosen = kept(records, lambda record: record.text is not None)
    answers = [clean_answer(record.answer) for record in chosen]
    references = [[clean_reference(record.references[0])] for record in chosen]
    tallies: dict[str, Tally] = {
        f"bleu-{n}": bleu(answers, references, n, str.split, coco=True) for n in (1, 2, 3, 4)
    }
    tallies["bleu-mean"] = _mean_of(list(tallies.values()))
    tallies |= {
        "rouge-l": coco_rouge_l(answers, references),
        "cider": cider(answers, references, str.split),
        "meteor": meteor(answers, references, str.split),
    }
    notes = {"meteor": f"nltk, {meteor_stages()}; theirs is Java METEOR 1.5"}
    return [
        some(name, tally, places, len(records), note=notes.get(name, "")) for name, tally in tallies.items()
    ]


def _mean_of(tallies: list[Tally]) -> Tally:
    """The mean of values that share their counts."""

    def value(sums: Floats) -> Floats:
        return np.asarray(np.mean([tally.value(sums) for tally in tallies], axis=0), dtype=np.float64)

    return Tally(tallies[0].rows, value)


VLM3D = Protocol(
    name="vlm3d",
    title="VLM3D challenge, report generation",
    source="forithmus/VLM3D-Dockers, ct_challenges/reportgen_evaluation",
    scorers={"report": _report},
    quirks=(
        "findings: unweighted mean over 18 labels; a label that never occurs counts 0",
        "a missing report has no finding in F1 and CRG, but is left out of the text metrics",
        "words between spaces: case and punctuation count",
        "here: the rule labeler unless a classifier is named; METEOR is nltk's, not Java METEOR 1.5",
    ),
)

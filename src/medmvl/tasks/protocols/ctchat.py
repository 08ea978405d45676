"""`ctchat`: CT-CHAT (Hamamci et al., arXiv 2403.17834): pycocoevalcap over all answers together, missing ones dropped."""

from __future__ import annotations

from collections.abc import Sequence

from medmvl.tasks.metrics.bleu import bleu
from medmvl.tasks.metrics.cider import cider
from medmvl.tasks.metrics.measures import Measure, MetricOptions
from medmvl.tasks.metrics.meteor import meteor, meteor_stages
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.metrics.rouge import coco_rouge_l
from medmvl.tasks.protocols.base import Protocol, kept, some

SPECIAL = ("<s>", "</s>", "<|eot_id|>", "\n")


def clean(text: str) -> str:
    """Without the special tokens and line breaks that the convention takes out."""
    for mark in SPECIAL:
        text = text.replace(mark, "")
    return text


def _score(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    places, chosen = kept(records, lambda record: record.text is not None)
    answers, references = (
        [clean(record.answer) for record in chosen],
        [record.references[:1] for record in chosen],
    )
    tallies = {
        "bleu-1": bleu(answers, references, 1, str.split, coco=True),
        "meteor": meteor(answers, references, str.split),
        "rouge-l": coco_rouge_l(answers, references),
        "cider": cider(answers, references, str.split),
    }
    notes = {"meteor": f"nltk, {meteor_stages()}; theirs is Java METEOR 1.5"}
    return [
        some(name, tally, places, len(records), note=notes.get(name, "")) for name, tally in tallies.items()
    ]


def _choice(records: Sequence[Record], options: MetricOptions) -> list[Measure]:
    places, chosen = kept(records, lambda record: "\n" not in record.references[0])
    return [
        Measure(m.name, m.tally, tuple(places[place] for place in m.scored), len(records), m.note)
        for m in _score(chosen, options)
    ]


CTCHAT = Protocol(
    name="ctchat",
    title="CT-CHAT",
    source="ibrahimethemhamamci/CT-CHAT, evaluations/new_llm_metrics.py",
    scorers={"report": _score, "open": _score, "closed": _score, "choice": _choice},
    pooled=_score,
    quirks=(
        "corpus values of pycocoevalcap on words between spaces: case and punctuation count",
        "answers that are missing, or fail in any way, are dropped silently",
        "choices are scored as text, and only where the reference is one line",
        "all types of question are pooled into one number as well; CIDEr's document frequencies then come from all of them",
        "METEOR here is nltk's, not Java METEOR 1.5",
    ),
)

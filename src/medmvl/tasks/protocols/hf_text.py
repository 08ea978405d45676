"""Text metrics as Hugging Face `evaluate` computes them for one pair, which several 3D protocols average."""

from __future__ import annotations

from collections.abc import Sequence

from medmvl.tasks.metrics.bertscore import bertscore
from medmvl.tasks.metrics.bleu import bleu
from medmvl.tasks.metrics.measures import Measure, MetricOptions
from medmvl.tasks.metrics.meteor import meteor, meteor_stages
from medmvl.tasks.metrics.record import Record
from medmvl.tasks.metrics.rouge import rouge
from medmvl.tasks.metrics.tally import Tally
from medmvl.tasks.metrics.tokens import split_13a, split_treebank
from medmvl.tasks.protocols.base import some


def hf_text(
    records: Sequence[Record],
    places: Sequence[int],
    total: int,
    options: MetricOptions,
    *,
    orders: Sequence[int],
    rouges: Sequence[str],
) -> list[Measure]:
    """Per-sample means of BLEU (13a tokens, case kept, no smoothing), ROUGE and METEOR; BERTScore where an encoder is given.

    Args:
        records: those that are scored.
        places: their places among all.
        total: number of all records.
        options: may name an encoder.
        orders: of BLEU.
        rouges: variants of ROUGE.
    """
    answers = [record.answer.strip() for record in records]
    references = [[record.references[0].strip()] for record in records]

    def mean(name: str, tally: Tally, note: str = "") -> Measure:
        return some(name, tally, places, total, note=note, per_sample=True)

    found = [mean(f"bleu-{order}", bleu(answers, references, order, split_13a)) for order in orders]
    found += [mean(variant, rouge(answers, references, variant)) for variant in rouges]
    found.append(mean("meteor", meteor(answers, references, split_treebank), f"nltk, {meteor_stages()}"))
    if options.bertscore is not None:
        found.append(mean("bertscore", bertscore(answers, references, options.bertscore), "F1"))
    return found

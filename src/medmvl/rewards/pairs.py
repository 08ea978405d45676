"""Pairs for preference training: the best and the worst of several answers of a model, by a reward, with the margin kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from medmvl.errors import UserError
from medmvl.rewards.reward import Reward, checked_score
from medmvl.schema import Sample
from medmvl.schema.reasoning import split_reasoning, without_reasoning
from medmvl.tasks.protocols.predictions import record_of


@dataclass
class PairCounts:
    """What became of the samples."""

    pairs: int = 0
    alike: int = 0
    """Samples whose answers differ by less than the margin."""
    single: int = 0
    """Samples with fewer than two different answers that say something."""
    unjudged: dict[str, int] = field(default_factory=dict)
    """Number of samples by what the reward needs and they lack, or `an answer`."""


def make_pairs(
    samples: Iterable[Sample],
    answers: Mapping[str, Sequence[str]],
    reward: Reward,
    margin: float,
    counts: PairCounts,
) -> Iterator[Sample]:
    """Yield a sample with `chosen`, `rejected` and `margin` for each that has two answers apart.

    Args:
        samples: with their truth.
        answers: several by the sample's id.
        reward: judges them.
        margin: least difference of the best and the worst.
        counts: filled on the way.

    Raises:
        UserError: an answer is of no sample.
    """
    seen = set()
    for sample in samples:
        seen.add(sample.id)
        said = (text.strip() for text in answers.get(sample.id, ()))
        texts = list(dict.fromkeys(text for text in said if split_reasoning(text)[1]))
        pair = _pair(sample, texts, reward, margin, counts)
        if pair is not None:
            counts.pairs += 1
            yield pair
    strangers = sorted(answers.keys() - seen)
    if strangers:
        raise UserError(
            f"{len(strangers)} answers are of no sample, such as {', '.join(map(repr, strangers[:3]))}; "
            "expected the ids of the data"
        )


def _pair(
    sample: Sample, texts: Sequence[str], reward: Reward, margin: float, counts: PairCounts
) -> Sample | None:
    record = record_of(sample, None)
    lacking = reward.missing(record) if texts else "an answer"
    if lacking is not None:
        counts.unjudged[lacking] = counts.unjudged.get(lacking, 0) + 1
        return None
    if len(texts) < 2:
        counts.single += 1
        return None
    scores = {text: checked_score(reward, replace(record, text=text)) for text in texts}
    best, worst = max(texts, key=scores.__getitem__), min(texts, key=scores.__getitem__)
    difference = scores[best] - scores[worst]
    if difference < margin or difference == 0 or not without_reasoning(best).strip():
        counts.alike += 1
        return None
    changes = {"chosen": best, "rejected": worst, "margin": round(difference, 6)}
    return sample.prompt().model_copy(update=changes)

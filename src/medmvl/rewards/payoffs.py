"""What the attacks of the audit earn on the prompts of a training, as a curve next to what the model earns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from medmvl.rewards.attacks import ATTACKS, DataView, view_data
from medmvl.rewards.combined import CombinedReward
from medmvl.rewards.findings import FindingsF1
from medmvl.tasks.labelers import find_labeler
from medmvl.tasks.metrics.record import Record

HONEST, CONTROL = "reference", "no_image"
Scores = Mapping[str, Sequence[float]]
"""By attack, what each of its variants earns; so do `reference`, the right answer, and `no_image`, the usual answers."""


class AttackPayoffs:
    """Attacks on one combined reward, written from records that are known before the training.

    Args:
        records: some of the training's data; an attacker knows how their answers are worded.
        combined: the rewards of the stage.
    """

    def __init__(self, records: Sequence[Record], combined: CombinedReward) -> None:
        labelers = [
            entry.reward.labeler for entry in combined.entries if isinstance(entry.reward, FindingsF1)
        ]
        self._view: DataView = view_data(records, find_labeler(labelers[0]) if labelers else None)
        self._combined = combined
        self._known: dict[tuple[str, ...], Scores] = {}

    def of(self, record: Record) -> Scores:
        """What attacks on a prompt earn; each prompt is looked at once."""
        key = (record.id, record.question, *record.references)
        if key not in self._known:
            written = {name: attack.make(record, self._view) for name, attack in ATTACKS.items()}
            written[HONEST], written[CONTROL] = record.references[:1], self._view.constants(record)
            self._known[key] = {
                name: [self._combined.score(replace(record, text=text)).total for text in texts]
                for name, texts in written.items()
                if texts
            }
        return self._known[key]


def mean_payoffs(found: Iterable[Scores]) -> dict[str, float]:
    """By attack, the mean over prompts of its best variant, and as `best` the most that any attack on wrong answers earns.

    An attack that is bound by the honest answer pads the right one: it is no wrong answer.
    """
    scores: dict[str, list[Sequence[float]]] = defaultdict(list)
    for one in found:
        for name, values in one.items():
            scores[name].append(values)
    means = {name: _best_mean(values) for name, values in sorted(scores.items())}
    wrong = [value for name, value in means.items() if name in ATTACKS and ATTACKS[name].bound == "control"]
    return means | ({"best": max(wrong)} if wrong else {})


def _best_mean(values: Sequence[Sequence[float]]) -> float:
    """The variant with the highest mean; a prompt with fewer variants repeats its last."""
    most = max(map(len, values))
    return max(sum(own[min(place, len(own) - 1)] for own in values) / len(values) for place in range(most))

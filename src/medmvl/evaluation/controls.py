"""Controls: what a score is worth without looking. The majority answer, and the model without its image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from medmvl.schema import Sample
from medmvl.tasks import Group, group_of, target_of


def majority_answers(samples: Iterable[Sample]) -> dict[Group, str]:
    """The most frequent reference answer of every group; the first seen among equals.

    A group never mixes languages, kinds of question, or 2D with 3D. Samples without a known answer do not
    count.
    """
    counts: dict[Group, Counter[str]] = {}
    for sample in samples:
        target = target_of(sample)
        if target is not None:
            counts.setdefault(group_of(sample), Counter())[target.answers[0]] += 1
    return {group: counter.most_common(1)[0][0] for group, counter in counts.items()}

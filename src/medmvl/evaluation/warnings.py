"""What a reader of the results must know: few patients, unknown identities, controls that could not be run."""

from __future__ import annotations

from collections.abc import Sequence

from medmvl.data.trained_on import TrainedOn
from medmvl.evaluation.controls import SwappedImages
from medmvl.evaluation.results import Row
from medmvl.evaluation.statistics import FEW_CLUSTERS, several

TRAINED_ON = "Trained on:"
"""Beginning of the warning that the judged patients are the training's; it is shown in red."""
UNCHECKED = "not checked whether the data are unseen"


def cluster_warnings(name: str, clusters: Sequence[str], item: str = "sample") -> list[str]:
    """Warnings about the clusters as a whole; `item` is what was judged, such as a sample or a record."""
    warnings = []
    if len(set(clusters)) < FEW_CLUSTERS:
        warnings.append(f"only {len(set(clusters))} {several(name)}: the intervals are rough")
    if name != "patient":
        warnings.append(
            f"not every {item} names its patient: intervals are over {several(name)} and may be too narrow"
        )
    return warnings


def trained_on_warnings(
    trained_on: TrainedOn | None, seen: tuple[int, int] | None, name: str, key: str | None = None
) -> list[str]:
    """Whether the model was trained on those it is judged on, by pseudonyms of a key; the first thing to know."""
    if trained_on is None or seen is None:
        return [f"{UNCHECKED}: the model does not say whom it was trained on"]
    shared, total = seen
    if shared:
        return [
            f"{TRAINED_ON} {shared} of {total} {several(name)} were trained on: this is no test on unseen {several(name)}"
        ]
    if not trained_on.complete:
        return [f"{UNCHECKED}: the model was trained elsewhere before, on what it does not say"]
    if trained_on.cannot_know(key):
        return [
            f"{UNCHECKED}: their pseudonyms and those of the training data are of different keys; convert both with one key "
            "(medmvl data from-csv --key)"
        ]
    return []


def group_warnings(rows: Sequence[Row], name: str, all_clusters: int) -> list[str]:
    """Which groups have few clusters, where the whole has enough."""
    small = [f"{row.group} ({row.score.clusters})" for row in rows if row.score.clusters < FEW_CLUSTERS]
    if not small or all_clusters < FEW_CLUSTERS:
        return []
    return [f"rough intervals, of fewer than {FEW_CLUSTERS} {several(name)}: {', '.join(small)}"]


def reasoning_warnings(unfinished: int, total: int) -> list[str]:
    """How many answers are empty, and count as wrong, as the tokens ran out within the reasoning."""
    if not unfinished:
        return []
    return [
        f"{unfinished} of {total} answers are empty: the reasoning took all tokens; raise --max-new-tokens, or --no-thinking"
    ]


def control_warnings(swapped: SwappedImages, name: str, own_majority: bool) -> list[str]:
    """What is weaker about the controls than it could be.

    Args:
        swapped: the samples of the swapped-image control.
        name: what the clusters are, such as patients.
        own_majority: whether the majority answers come from the evaluated samples themselves.
    """
    warnings = []
    if own_majority:
        warnings.append("no training data given: the majority answer is that of the evaluated data itself")
    if swapped.impossible:
        warnings.append(
            f"{len(swapped.impossible)} questions have no other patient's image of the same task and type"
        )
    if swapped.samples and name == "sample":
        warnings.append("patients are unknown: another image may be another one of the same patient")
    return warnings

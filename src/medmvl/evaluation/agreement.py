"""How far two judges of the same answers agree: raw agreement and Cohen's kappa, over all and per category, with intervals.

Source of kappa: Cohen, Educational and Psychological Measurement 20 (1960).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medmvl.errors import SampleError, UserError
from medmvl.evaluation.statistics import Interval, mean_interval, tally_interval
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.tasks.metrics.tally import Floats, Tally, ratio
from medmvl.tasks.protocols.predictions import CATEGORY_KEYS, ID_KEYS, PATIENT_KEYS, STUDY_KEYS

MAJORITY = "majority"
RIGHT_WORDS = {"right": True, "true": True, "correct": True, "yes": True, "1": True}
WRONG_WORDS = {
    "wrong": False,
    "false": False,
    "incorrect": False,
    "no": False,
    "0": False,
    "partly": False,
    "partial": False,
}


@dataclass(frozen=True)
class Verdicts:
    """One judge's verdicts on answers."""

    name: str
    right: Mapping[str, bool]
    """Answer's id to whether it is right; partly right is not right."""
    clusters: Mapping[str, str]
    """Id to patient or case, where the file says."""
    categories: Mapping[str, tuple[str, ...]]
    undecided: int
    """Lines without a verdict, and ties."""


@dataclass(frozen=True)
class Agreement:
    """Two judges about one group of answers."""

    group: str
    agreement: Interval
    kappa: Interval
    right_first: float
    right_second: float
    """Share of answers that each calls right."""

    def to_json(self) -> JsonObject:
        """Plain values."""
        return {**self.__dict__, "agreement": self.agreement.to_json(), "kappa": self.kappa.to_json()}


def read_verdicts(path: Path, judge: str = MAJORITY) -> Verdicts:
    """Read a file of verdicts: a line per answer with `id` and `verdict`, or with `verdicts` of several judges.

    Args:
        path: JSON Lines, such as `medmvl score --answers` writes.
        judge: of `verdicts`: its name, or `majority`.

    Raises:
        UserError: the file is no JSON Lines, or no line has a verdict.
        SampleError: a line has no id or none of the known verdicts.
    """
    right: dict[str, bool] = {}
    clusters: dict[str, str] = {}
    categories: dict[str, tuple[str, ...]] = {}
    undecided = 0
    for number, line in enumerate(_lines(path), 1):
        where = f"{path}, line {number}"
        name = next((str(line[key]) for key in ID_KEYS if line.get(key) is not None), None)
        if name is None:
            raise SampleError(f"{where}: no id; expected one of {', '.join(ID_KEYS)}")
        if name in right:
            raise UserError(f"{where}: a second verdict on {name!r}; expected one line per answer")
        said = _verdict(line, judge, where)
        undecided += said is None
        if said is not None:
            right[name] = said
        cluster = next((line[key] for key in (*PATIENT_KEYS, *STUDY_KEYS) if line.get(key) is not None), None)
        if cluster is not None:
            clusters[name] = str(cluster)
        found = next((line[key] for key in CATEGORY_KEYS if line.get(key) is not None), ())
        categories[name] = (found,) if isinstance(found, str) else tuple(map(str, found))
    if not right:
        raise UserError(
            f"{path}: no line has a verdict; expected `verdict` or `verdicts`, as `medmvl score --answers` writes"
        )
    return Verdicts(
        path.name if judge == MAJORITY else f"{path.name}, {judge}", right, clusters, categories, undecided
    )


def _lines(path: Path) -> list[JsonObject]:
    try:
        lines = [
            json.loads(line) for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()
        ]
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not JSON Lines: {error}") from None
    if not all(isinstance(line, dict) for line in lines):
        raise UserError(f"{path}: expected one JSON object per line")
    return lines


def _verdict(line: JsonMapping, judge: str, where: str) -> bool | None:
    """Right or not; None where nobody decided."""
    if "verdict" in line:
        return _right(line["verdict"], where)
    verdicts = line.get("verdicts")
    if not isinstance(verdicts, Mapping):
        raise SampleError(f"{where}: neither `verdict` nor `verdicts`")
    if judge != MAJORITY:
        if judge not in verdicts:
            raise SampleError(f"{where}: no verdict of {judge!r}; it has those of {', '.join(verdicts)}")
        return None if verdicts[judge] is None else _right(verdicts[judge], where)
    votes = [_right(vote, where) for vote in verdicts.values() if vote is not None]
    return None if 2 * sum(votes) == len(votes) else 2 * sum(votes) > len(votes)


def _right(said: object, where: str) -> bool:
    known = {**RIGHT_WORDS, **WRONG_WORDS}
    word = str(said).strip().lower()
    if word not in known:
        raise SampleError(f"{where}: verdict {said!r}; expected one of {', '.join(known)}")
    return known[word]


def agree(first: Verdicts, second: Verdicts, seed: int = 0) -> list[Agreement]:
    """Agreement over all answers that both judged, and per category.

    Raises:
        UserError: no answer is in both files.
    """
    both = [name for name in first.right if name in second.right]
    if not both:
        raise UserError(f"{first.name} and {second.name} judge no answer in common; expected the same ids")
    categories = {name: first.categories.get(name) or second.categories.get(name, ()) for name in both}
    groups = {"all": both}
    for category in sorted({category for found in categories.values() for category in found}):
        groups[category] = [name for name in both if category in categories[name]]
    clusters = {**second.clusters, **first.clusters}
    return [
        _group(group, names, first, second, [clusters.get(name, name) for name in names], seed)
        for group, names in groups.items()
    ]


def _group(
    group: str, names: Sequence[str], first: Verdicts, second: Verdicts, clusters: Sequence[str], seed: int
) -> Agreement:
    a = np.array([first.right[name] for name in names], dtype=np.float64)
    b = np.array([second.right[name] for name in names], dtype=np.float64)
    rows = np.stack([a == b, a, b, np.ones_like(a)], axis=1).astype(np.float64)
    return Agreement(
        group,
        mean_interval(rows[:, 0].tolist(), clusters, seed=seed),
        tally_interval(Tally(rows, kappa), clusters, seed=seed),
        float(a.mean()),
        float(b.mean()),
    )


def kappa(sums: Floats) -> Floats:
    """Cohen's kappa from sums of (agreements, right by the first, right by the second, answers), shape (..., 4).

    NaN where both judges say the same of every answer, as chance then explains all.
    """
    n = sums[..., 3]
    observed, first, second = ratio(sums[..., 0], n), ratio(sums[..., 1], n), ratio(sums[..., 2], n)
    chance = first * second + (1 - first) * (1 - second)
    return ratio(observed - chance, 1 - chance, empty=float("nan"))

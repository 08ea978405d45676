"""The reward of findings: which of the known labels the answer names, denies, or says both ways."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from pydantic import field_validator

from medmvl.rewards.reward import Reward
from medmvl.tasks.labelers import LABELERS, Labeler, find_labeler
from medmvl.tasks.metrics.record import Record

_NORMAL = re.compile(
    r"\b(?:no|not|without|normal|unremarkable|clear|negative|free)\b|无|未|没有|正常|清晰|阴性", re.IGNORECASE
)
"""Says that something is not there, or as it should be."""


class FindingsF1(Reward):
    """F1 of the findings that the answer names, above what naming all of them would earn.

    A finding both named and denied is wrong whatever the truth. A study without findings is worth 1 where the answer says
    that nothing is there and names none; an empty or evasive one earns nothing. Fooled by: a constant report without
    findings earns the share of studies that have none, so balance the data; and only labels count, not places or sizes.
    """

    labeler: str = "chexpert"
    """Labeler that reads the answer: `phantoms`, `ct-rate`, `chexpert`, or the folder of a classifier."""

    @field_validator("labeler")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in LABELERS:
            find_labeler(name)
        return name

    def missing(self, record: Record) -> str | None:
        """A report with labels that the labeler can read, its own or those of the reference."""
        if record.form != "report":
            return "a report (other answers speak of one finding)"
        return None if self._truth(record) else f"labels that the labeler '{self.labeler}' knows"

    def score(self, record: Record) -> float:
        """Chance-corrected F1 over the labels whose truth is known."""
        truth = self._truth(record)
        said, contradicted = _read(self.labeler, record.answer)
        wanted = {name for name, value in truth.items() if value > 0.5}
        absent = set(truth) - wanted
        given = {name for name in truth if said.get(name, 0.0) > 0.5}
        wrong = contradicted & set(truth)
        hit, false = len((given & wanted) - wrong), len((given | wrong) & absent)
        if not wanted:
            return float(not false and not wrong and _NORMAL.search(record.answer) is not None)
        f1 = 2 * hit / (hit + len(wanted) + false) if hit else 0.0
        of_all = 2 * len(wanted) / (2 * len(wanted) + len(absent))
        return f1 if not absent else max(0.0, (f1 - of_all) / (1 - of_all))

    def _truth(self, record: Record) -> Mapping[str, float]:
        """The record's own labels that the labeler knows, else those of its reference."""
        names = _labeler(self.labeler).names
        own = {name: value for name, value in record.labels.items() if name in names}
        if own:
            return own
        found = _read(self.labeler, record.references[0])[0]
        return {name: found.get(name, 0.0) for name in names}


@lru_cache(maxsize=8)
def _labeler(name: str) -> Labeler:
    return find_labeler(name)


@lru_cache(maxsize=4096)
def _read(name: str, text: str) -> tuple[Mapping[str, float], frozenset[str]]:
    """The labels of a text, and those that it says both ways."""
    labeler = _labeler(name)
    contradicted = getattr(labeler, "contradicted", None)
    return labeler.label([text])[0], frozenset(
        contradicted(text)
    ) if contradicted is not None else frozenset()

"""Labelers: what a report says is present. Visible rules, the phantoms' own sentences, or a classifier of yours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from medmvl.errors import UserError
from medmvl.tasks.labelers.base import Labeler
from medmvl.tasks.labelers.chexpert import CHEXPERT_FINDINGS, chexpert_labeler
from medmvl.tasks.labelers.classifier import ClassifierLabeler
from medmvl.tasks.labelers.ct_rate import CT_RATE_FINDINGS, ct_rate_labeler
from medmvl.tasks.labelers.phantoms import PhantomLabeler
from medmvl.tasks.labelers.rules import FindingRule, RuleLabeler

LABELERS: dict[str, Callable[[], Labeler]] = {
    "phantoms": PhantomLabeler,
    "ct-rate": ct_rate_labeler,
    "chexpert": chexpert_labeler,
}


def find_labeler(name: str) -> Labeler:
    """Return a labeler by its name, or a classifier by the folder it is saved in.

    Raises:
        UserError: there is neither.
    """
    if name in LABELERS:
        return LABELERS[name]()
    if Path(name).is_dir():
        return ClassifierLabeler(Path(name))
    raise UserError(
        f"no labeler '{name}': it is neither one of {', '.join(LABELERS)} nor a folder with a classifier"
    )


__all__ = [
    "CHEXPERT_FINDINGS", "CT_RATE_FINDINGS", "LABELERS", "ClassifierLabeler", "FindingRule", "Labeler",
    "PhantomLabeler", "RuleLabeler", "find_labeler",
]  # fmt: skip

"""One chest X-ray study as one sample: the best frontal image, then a lateral one, then the report is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import question
from medmvl.datasets.gathering.reports import ASK
from medmvl.errors import UserError
from medmvl.schema import ImageBlock

FRONTAL = ("PA", "AP", "FRONTAL")
LATERAL = ("LATERAL", "LL")


class View(NamedTuple):
    """One image of a study."""

    path: Path
    position: str
    """View position as the data set calls it, such as `PA`, `AP`, `LATERAL`; empty where it does not say."""


def choose_views(views: Sequence[View]) -> list[View]:
    """The best frontal view (PA before AP), then a lateral one; the first image where no view is known.

    Raises:
        UserError: where there is no image.
    """
    chosen = [view for view in (_best(views, FRONTAL), _best(views, LATERAL)) if view is not None]
    if not views:
        raise UserError("the study has no image")
    return chosen or [views[0]]


def take_report(
    found: Collection,
    id: str,
    views: Sequence[View],
    report: str,
    split: str | None,
    *,
    labels: Mapping[str, float] | None = None,
    **identity: Any,
) -> None:
    """Take a study; the views it shows are labels `view/PA` and the like.

    Raises:
        UserError: where there is no image, or it cannot be read.
    """
    chosen = choose_views(views)
    shown = {f"view/{view.position.upper()}": 1.0 for view in chosen if view.position}
    blocks = [ImageBlock(image=found.image(view.path)) for view in chosen]
    sample = question(
        id,
        blocks,
        ASK["xray"],
        report,
        question_type="report",
        labels={**(labels or {}), **shown},
        **identity,
    )
    found.add(sample, split)


def _best(views: Sequence[View], wanted: Sequence[str]) -> View | None:
    ranked = [view for view in views if view.position.upper() in wanted]
    return min(ranked, key=lambda view: wanted.index(view.position.upper()), default=None)

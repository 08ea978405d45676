"""Evaluation: answers judged beside their controls, with intervals over patients."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medmvl.evaluation.calibration import Calibration, calibrate
    from medmvl.evaluation.controls import majority_answers, swap_images
    from medmvl.evaluation.likelihood import candidate_logprobs
    from medmvl.evaluation.results import Judged, Results, Row, summarise, to_table
    from medmvl.evaluation.run import EvaluationOptions, clusters_of, evaluate, limit_clusters
    from medmvl.evaluation.significance import detectable_difference, holm, sign_flip_p
    from medmvl.evaluation.statistics import (
        Interval,
        bootstrap_interval,
        difference_interval,
        mean_interval,
        tally_interval,
        wilson,
    )

__all__ = [
    "Calibration",
    "EvaluationOptions",
    "Interval",
    "Judged",
    "Results",
    "Row",
    "bootstrap_interval",
    "calibrate",
    "candidate_logprobs",
    "clusters_of",
    "detectable_difference",
    "difference_interval",
    "evaluate",
    "holm",
    "limit_clusters",
    "majority_answers",
    "mean_interval",
    "sign_flip_p",
    "summarise",
    "swap_images",
    "tally_interval",
    "to_table",
    "wilson",
]  # fmt: skip

_HOMES: dict[str, tuple[str, ...]] = {
    "calibration": ("Calibration", "calibrate"),
    "significance": ("detectable_difference", "holm", "sign_flip_p"),
    "controls": ("swap_images", "majority_answers"),
    "likelihood": ("candidate_logprobs",),
    "results": ("Judged", "Results", "Row", "summarise", "to_table"),
    "run": ("EvaluationOptions", "clusters_of", "evaluate", "limit_clusters"),
    "statistics": (
        "Interval",
        "bootstrap_interval",
        "difference_interval",
        "mean_interval",
        "tally_interval",
        "wilson",
    ),
}
"""Where each name is; imported when it is first used, so that scoring without a model starts without torch."""


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

"""Evaluation: answers judged beside their controls, with intervals over patients."""

from medmvl.evaluation.controls import majority_answers
from medmvl.evaluation.results import Judged, Results, Row, summarise, to_table
from medmvl.evaluation.run import EvaluationOptions, clusters_of, evaluate, limit_clusters
from medmvl.evaluation.statistics import Interval, difference_interval, mean_interval, wilson

__all__ = [
    "EvaluationOptions", "Interval", "Judged", "Results", "Row", "clusters_of", "difference_interval",
    "evaluate", "limit_clusters", "majority_answers", "mean_interval", "summarise", "to_table", "wilson",
]  # fmt: skip

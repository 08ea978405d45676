"""How an answer is compared with the truth: normalisation, closed answers, token overlap. Pure functions."""

from medmvl.tasks.metrics.overlap import exact_match, token_f1, token_recall
from medmvl.tasks.metrics.text import normalise, words

__all__ = ["exact_match", "normalise", "token_f1", "token_recall", "words"]

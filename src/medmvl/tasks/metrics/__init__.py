"""How an answer is compared with the truth: normalisation, closed answers, token overlap. Pure functions."""

from medmvl.tasks.metrics.choices import find_choice
from medmvl.tasks.metrics.overlap import exact_match, token_f1, token_recall
from medmvl.tasks.metrics.text import normalise, words

__all__ = ["exact_match", "find_choice", "normalise", "token_f1", "token_recall", "words"]

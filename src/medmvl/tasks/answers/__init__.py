"""The answer that counts: final answers, choices, and yes and no, in English and Chinese."""

from medmvl.tasks.answers.choices import choose, find_choice
from medmvl.tasks.answers.final import visible_answer
from medmvl.tasks.answers.yes_no import find_polarity, word_polarity, yes_no_choices

__all__ = ["choose", "find_choice", "find_polarity", "visible_answer", "word_polarity", "yes_no_choices"]

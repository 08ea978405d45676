"""Tasks: samples with known answers, and how an answer is judged; the same in training and evaluation."""

from medmvl.tasks.benchmark import Benchmark
from medmvl.tasks.judge import Judgement, judge, target_of
from medmvl.tasks.task import Group, Task, group_of

__all__ = ["Benchmark", "Group", "Judgement", "Task", "group_of", "judge", "target_of"]

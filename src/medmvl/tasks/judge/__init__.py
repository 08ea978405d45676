"""Judging answers: `judge` to the letter, `read_answer` and `read_record` as a careful reader."""

from medmvl.tasks.judge.reader import Reading, Verdict, read_answer
from medmvl.tasks.judge.record import read_record
from medmvl.tasks.judge.strict import Judgement, judge, judge_record, target_of

__all__ = [
    "Judgement", "Reading", "Verdict", "judge", "judge_record", "read_answer", "read_record", "target_of",
]  # fmt: skip

"""Judging answers: `judge` to the letter."""

from medmvl.tasks.judge.strict import Judgement, judge, judge_record, target_of

__all__ = ["Judgement", "judge", "judge_record", "target_of"]

"""A stage ends where its validation says that it has learned, and never later for having been killed."""

import json
from pathlib import Path
from typing import Any

import pytest

from medmvl.errors import RecipeError
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import train
from tests.factories.crashes import CrashError, assert_same_weights
from tests.factories.training import phantom_cache, recipe, stage

__all__ = ["phantom_cache"]

pytestmark = pytest.mark.usefixtures("phantom_cache")


def until(goal: dict[str, float], **changes: Any) -> Any:
    settings = {"eval_steps": 2, "save_steps": 1, "max_steps": 6, "schedule": "constant"} | changes
    return parse_recipe(recipe(stage("answer", until=goal, **settings)), "until")


def steps(out: Path) -> list[int]:
    records = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    return [record["step"] for record in records if "eval_loss" in record]


def test_a_stage_ends_where_all_is_reached(tmp_path: Path) -> None:
    train(until({"loss": 1e9, "token_accuracy": 0.0}), tmp_path / "reached")
    train(until({"loss": 1e9, "token_accuracy": 2.0}), tmp_path / "not")
    assert steps(tmp_path / "reached") == [2]
    assert steps(tmp_path / "not") == [2, 4, 6]


def test_a_kill_after_the_last_validation_trains_no_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal = until({"loss": 1e9})

    def crash(*arguments: Any) -> None:
        raise CrashError

    with monkeypatch.context() as patch:
        patch.setattr("medmvl.training.stage.save_stage", crash)
        with pytest.raises(CrashError):
            train(goal, tmp_path / "broken")
    train(goal, tmp_path / "broken")
    train(goal, tmp_path / "whole")
    assert_same_weights(tmp_path / "broken", tmp_path / "whole")


def test_an_unknown_metric_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no metric 'token_accurcy'; did you mean 'token_accuracy'"):
        train(until({"token_accurcy": 0.5}), tmp_path / "out")


def test_without_validations_there_is_nothing_to_reach() -> None:
    with pytest.raises(RecipeError, match="until needs eval_steps"):
        until({"loss": 1.0}, eval_steps=None)
    document = recipe(stage("answer", until={"loss": 1.0}, eval_steps=1))
    document["data"]["validation"] = []
    with pytest.raises(RecipeError, match=r"eval_steps needs data\.validation"):
        parse_recipe(document, "until")

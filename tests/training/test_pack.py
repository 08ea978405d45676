"""Packing changes the work of a step, not what it learns; what cannot be packed is refused by name before the first step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from medmvl.errors import RecipeError, UserError
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import train
from tests.factories.training import MODEL, phantom_cache, recipe, stage

__all__ = ["phantom_cache"]

pytestmark = pytest.mark.usefixtures("phantom_cache")


def history(out: Path, **settings: Any) -> list[dict[str, Any]]:
    train(parse_recipe(recipe(stage(group="study", micro_batch_size=2, **settings)), "r"), out)
    lines = (out / "stages/01-instruct/model/history.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_packed_steps_are_those_of_padded_ones(tmp_path: Path) -> None:
    padded, packed = (history(tmp_path / str(pack), pack=pack) for pack in (False, True))
    assert len(packed) == len(padded) > 4
    for one, other in zip(padded, packed, strict=True):
        assert one.keys() == other.keys()
        for name in ("loss", "grad_norm", "eval_loss"):
            if name in one:
                assert other[name] == pytest.approx(one[name], rel=2e-5), name


def test_an_llm_that_was_not_tested_is_refused_by_name(tmp_path: Path) -> None:
    llm = {**MODEL["llm"], "config": {**MODEL["llm"]["config"], "model_type": "gemma2", "head_dim": 8}}
    document = recipe(stage(pack=True), model={**MODEL, "llm": llm})
    with pytest.raises(UserError, match=r"stage 'instruct'.*qwen3, not for 'gemma2'.*set pack to false"):
        train(parse_recipe(document, "r"), tmp_path / "run")


def test_packing_is_for_language_modelling() -> None:
    parts = {"image_encoder": "full"}
    with pytest.raises(RecipeError, match="pack is for the objective lm, not 'contrastive'"):
        parse_recipe(recipe(stage(objective="contrastive", parts=parts, pack=True)), "r")


def test_a_loss_that_is_no_number_ends_the_run_and_names_its_step(tmp_path: Path) -> None:
    document = recipe(stage(learning_rate=1e30, max_grad_norm=0, max_steps=4, log_steps=10, save_steps=4))
    with pytest.raises(UserError, match=r"the loss is (nan|inf) at step [234]; lower the learning rate"):
        train(parse_recipe(document, "r"), tmp_path / "run")
    assert not list((tmp_path / "run").rglob("checkpoint-*/model.safetensors"))

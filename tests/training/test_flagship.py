"""The flagship recipes are complete, and each has a twin with small numbers that really trains."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from medmvl.exchange.export import Export, export
from medmvl.models.assemble import load
from medmvl.training.estimate import estimate
from medmvl.training.recipe import Recipe
from medmvl.training.recipe_files import load_recipe, recipe_names
from medmvl.training.run import train

TWINS = sorted(name for name in recipe_names() if name.endswith("-tiny"))
FLAGSHIPS = [name.removesuffix("-tiny") for name in TWINS]
OTHER_LLMS = {"qwen3": 4.02e9, "llama3": 3.21e9, "phi4": 3.84e9, "gemma2": 2.61e9, "mistral": 7.25e9}
"""Recipes with another LLM, and its published number of parameters."""
SAME = ("objective", "group", "schedule", "warmup", "weight_decay")
"""What of a stage a twin must not change; how long and how large it may."""


def test_both_flagships_come_in_english_chinese_both_and_with_native_3d_encoders() -> None:
    wanted = {
        f"medm-vl-{kind}{language}" for kind in ("2d", "ct-chest") for language in ("", "-zh", "-bilingual")
    }
    assert set(FLAGSHIPS) == wanted | {"medm-vl-ct-chest-m3d-clip", "medm-vl-ct-chest-medm-clip"}
    others = {f"medm-vl-2d-{llm}" for llm in OTHER_LLMS}
    assert {name for name in recipe_names() if name.startswith("medm-vl")} == {*FLAGSHIPS, *TWINS, *others}


def shape(recipe: Recipe) -> dict[str, Any]:
    """What makes an architecture and its training, without numbers."""
    model = recipe.model
    parts = {
        name: part.get("type") if isinstance(part := getattr(model, name), dict) else part
        for name in ("image_encoder", "image_connector", "volume_encoder", "volume_connector")
    }
    stages = [
        (
            stage.name,
            {name: how.mode for name, how in stage.parts.items()},
            [getattr(stage, key) for key in SAME],
        )
        for stage in recipe.stages
    ]
    return {
        "parts": parts,
        "stages": stages,
        "processors": [model.image_processor is None, model.volume_processor is None],
    }


@pytest.mark.parametrize("name", FLAGSHIPS)
def test_a_twin_has_the_parts_and_stages_of_its_flagship(name: str) -> None:
    flagship, twin = load_recipe(name), load_recipe(f"{name}-tiny")
    assert shape(flagship) == shape(twin)
    connector = flagship.model.volume_connector or flagship.model.image_connector
    small = twin.model.volume_connector or twin.model.image_connector
    assert connector is not None and small is not None and set(connector) == set(small)


@pytest.mark.parametrize("name", FLAGSHIPS)
def test_flagships_have_the_published_numbers(name: str) -> None:
    recipe = load_recipe(name)
    align, tune = recipe.stages
    assert recipe.model.llm is not None and recipe.model.llm.path == "Qwen/Qwen2.5-3B"
    assert (align.learning_rate, tune.learning_rate, recipe.model.max_length) == (1e-3, 2e-5, 2048)
    assert (align.batch_size, tune.batch_size) == ((256, 128) if "2d" in name else (32, 16))
    for source in (*recipe.data.train, *(align.data.train if align.data else ())):
        assert source.path is not None and source.path.startswith("data/")


@pytest.mark.parametrize("name", TWINS)
def test_a_twin_trains_every_stage(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "cache"))
    few = [f"stages.{stage}.max_steps=3" for stage in ("align", "fine-tune")]
    model, processor = load(train(load_recipe(name, few), tmp_path / "run"))
    reads = {kind for kind in ("image", "volume") if getattr(model, f"{kind}_connector") is not None}
    assert ("volume" in reads) == ("ct-chest" in name)
    assert processor.visual_parts.encoders["volume" if "ct-chest" in name else "image"] is not None


@pytest.mark.parametrize("llm", OTHER_LLMS)
def test_recipes_with_other_llms_change_nothing_else(llm: str) -> None:
    recipe, published = load_recipe(f"medm-vl-2d-{llm}"), load_recipe("medm-vl-2d")
    assert recipe.stages == published.stages and recipe.data == published.data
    assert estimate(recipe).parts["llm"][1] == pytest.approx(OTHER_LLMS[llm], rel=0.005)


@pytest.mark.parametrize("name", ["fine-tune-full", "fine-tune-lora"])
@pytest.mark.parametrize("twin", ["medm-vl-2d-tiny", "medm-vl-ct-chest-tiny"])
def test_a_released_model_is_fine_tuned(
    name: str, twin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a hospital does: a saved model, own data, one of two recipes."""
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "cache"))
    few = [f"stages.{stage}.max_steps=1" for stage in ("align", "fine-tune")]
    released = train(load_recipe(twin, few), tmp_path / "released")
    data = load_recipe(twin).data.model_dump(mode="json", exclude_unset=True)
    changes = [
        f"model.init={released}",
        f"data={json.dumps(data)}",
        "stages.fine-tune.epochs=0.1",
        "stages.fine-tune.warmup=0",
    ]
    tuned, _ = load(train(load_recipe(name, changes), tmp_path / "tuned"))
    before, _ = load(released)
    moved = {n for n, weight in tuned.named_parameters() if not torch.equal(weight, before.get_parameter(n))}
    assert any(n.startswith("llm.") for n in moved) and any("connector" in n for n in moved)
    encoder = any(n.startswith("image_encoder.") for n in moved)
    assert encoder == (name == "fine-tune-full")
    if name == "fine-tune-lora":
        export("adapter", Export(tmp_path / "tuned" / "model", tmp_path / "adapter"))
        export("merged", Export(tmp_path / "adapter", tmp_path / "merged", base=released))
        merged, _ = load(tmp_path / "merged")
        for n, weight in tuned.named_parameters():
            assert (weight - merged.get_parameter(n)).abs().max() < 1e-6

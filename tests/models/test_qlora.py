"""QLoRA: what is frozen is in 4 bits while a stage trains, and the merged model is exactly the one that was trained."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.factories.ranks import train_in_ranks
from tests.factories.training import losses, phantom_cache, recipe, stage, write_recipe

from medmvl.errors import RecipeError
from medmvl.models.assemble import assemble, load
from medmvl.models.four_bits import is_small
from medmvl.models.part_tuning import PartTuning
from medmvl.models.tuning import apply_tuning, has_lora, load_adapter, merge_lora, save_adapter, tuning_table
from medmvl.training.recipe_files import parse_recipe

pytest.importorskip("bitsandbytes")
__all__ = ["phantom_cache"]

QLORA = {"llm": PartTuning(mode="qlora")}
IDS = torch.arange(12).reshape(2, 6) % 7 + 3


def make_model() -> Any:
    loaded = parse_recipe(recipe(), "r")
    model, _ = assemble(loaded.model, texts=["yes no a lung nodule"], seed=0)
    with torch.no_grad():
        for weight in model.llm.model.layers.parameters():
            weight.mul_(4)  # so that the layers matter for the logits
    return model


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=IDS).logits
    return found


def descend(model: Any, count: int = 30) -> list[float]:
    """Losses of a few steps on one batch of text."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=3e-3)
    found = []
    for _ in range(count):
        loss = model.train()(input_ids=IDS, labels=IDS, use_cache=False).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        found.append(loss.item())
    return found


def test_only_frozen_layers_are_in_four_bits_and_adapters_alone_train() -> None:
    model = make_model()
    before = {row.part: row.num_parameters for row in tuning_table(model, {}, 1e-3)}
    apply_tuning(model, QLORA)
    small = [name for name, module in model.named_modules() if is_small(module)]
    assert len(small) == 7 and all(".layers.0." in name for name in small)  # q, k, v, o, gate, up, down
    names = [name for name, weight in model.named_parameters() if weight.requires_grad]
    assert names and all("lora_" in name for name in names)
    row = {row.part: row for row in tuning_table(model, QLORA, 1e-3)}["llm"]
    assert row.num_parameters - row.num_trained == before["llm"]
    assert not hasattr(model.llm, "is_loaded_in_4bit")


def test_loss_stays_close_to_loras_and_falls_like_it() -> None:
    whole = make_model()
    small = deepcopy(whole)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        apply_tuning(whole, {"llm": PartTuning(mode="lora")})
        torch.manual_seed(1)
        apply_tuning(small, QLORA)
    expected, found = descend(whole), descend(small)
    assert expected[-1] < 0.95 * expected[0]
    assert found == pytest.approx(expected, rel=0.02)


def test_merged_is_what_was_trained_and_is_loaded_without_four_bits(tmp_path: Path) -> None:
    model = make_model()
    original = deepcopy(model)
    apply_tuning(model, QLORA)
    descend(model, 5)
    trained = logits(model)
    save_adapter(model, QLORA, tmp_path / "adapter")
    merge_lora(model)
    assert not has_lora(model) and not any(is_small(module) for module in model.modules())
    torch.testing.assert_close(logits(model), trained, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(trained, logits(original), atol=1e-3)

    model.save_pretrained(tmp_path / "model")
    again = type(model).from_pretrained(tmp_path / "model")
    torch.testing.assert_close(logits(again), logits(model), rtol=0, atol=0)
    assert load_adapter(original, tmp_path / "adapter")["llm"].mode == "qlora"
    torch.testing.assert_close(logits(original), trained, rtol=1e-5, atol=1e-6)


def test_sharding_four_bits_is_refused() -> None:
    with pytest.raises((RecipeError, ValueError), match="qlora"):
        parse_recipe(recipe(stage(parts={"llm": "qlora"}), distributed={"fsdp": {}}), "r")


@pytest.mark.slow
def test_a_killed_training_goes_on_as_if_never_killed(tmp_path: Path, phantom_cache: Path) -> None:
    document = recipe(stage(parts={"llm": "qlora", "volume_connector": "full"}, save_steps=2))
    file = write_recipe(tmp_path / "r.yaml", document)
    assert train_in_ranks([file, "--out", tmp_path / "whole"], 1, tmp_path / "logs") == [0]
    assert train_in_ranks([file, "--out", tmp_path / "killed"], 1, tmp_path / "logs", die=(0, 3)) == [-9]
    assert train_in_ranks([file, "--out", tmp_path / "killed"], 1, tmp_path / "logs") == [0]
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")
    first, second = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("whole", "killed"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert load(tmp_path / "killed" / "model")[0] is not None

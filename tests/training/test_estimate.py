"""The estimate counts what is really built, and says what it assumes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from medmvl.errors import RecipeError, UserError
from medmvl.models.assemble import assemble
from medmvl.models.tuning import apply_tuning, parameter_groups
from medmvl.training.estimate import Assumptions, estimate
from medmvl.training.memory import FROZEN_BYTES, TRAINED_BYTES
from medmvl.training.recipe_files import load_recipe

OURS = Assumptions(samples=1000)


@pytest.mark.parametrize(("name", "total"), [("medm-vl-2d", 3.18e9), ("medm-vl-ct-chest", 3.19e9)])
def test_flagships_have_the_published_sizes(name: str, total: float) -> None:
    found = estimate(load_recipe(name), OURS)
    assert found.parts["llm"][1] == 3_085_938_688  # Qwen2.5-3B, as its model card says: 3.09B
    assert 85e6 < found.parts["image_encoder"][1] < 93e6  # SigLIP base's image tower without its head
    assert abs(sum(count for _, count in found.parts.values()) - total) < 1e7
    assert set(found.visual_tokens.values()) == {256}
    assert any("Qwen/Qwen2.5-3B is not here" in note for note in found.notes)


def test_parameters_are_those_of_the_model_that_is_built() -> None:
    recipe = load_recipe("medm-vl-ct-chest-tiny", ["model.llm.config.vocab_size=512"])
    found = estimate(recipe, OURS)
    model, _ = assemble(recipe.model, texts=[chr(n) * 2 for n in range(40, 120)])
    for name, (_, count) in found.parts.items():
        assert count == sum(p.numel() for p in getattr(model, name).parameters())
    for stage, planned in zip(recipe.stages, found.stages, strict=True):
        apply_tuning(model, stage.parts)
        assert planned.trained == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_a_trained_parameter_takes_what_it_is_said_to_take() -> None:
    recipe = load_recipe("medm-vl-2d-tiny")
    model, _ = assemble(recipe.model, texts=[chr(n) * 2 for n in range(40, 120)])
    tuning = recipe.stages[1].parts
    apply_tuning(model, tuning)
    optimizer = torch.optim.AdamW(parameter_groups(model, tuning, learning_rate=1e-3, weight_decay=0.0))
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    tensors: list[Any] = [t for p in model.parameters() for t in (p, p.grad, *optimizer.state[p].values())]
    measured = sum(t.numel() * t.element_size() for t in tensors if t is not None and t.ndim)
    assert measured == TRAINED_BYTES * sum(p.numel() for p in model.parameters())
    assert torch.bfloat16.itemsize == FROZEN_BYTES


def test_operations_are_those_of_a_real_pass() -> None:
    """Align trains the connector alone: forward everywhere, backward through the LLM, twice through the connector."""
    recipe = load_recipe("medm-vl-2d-tiny", ["model.llm.config.vocab_size=512"])
    found = estimate(recipe, Assumptions(text_tokens=20)).stages[0]
    model, _ = assemble(recipe.model, texts=[chr(n) * 2 for n in range(40, 120)])
    model.requires_grad_(False)
    assert model.image_encoder is not None and model.image_connector is not None
    model.image_connector.requires_grad_(True)
    with FlopCounterMode(display=False) as counter:
        tokens = model.image_connector(model.image_encoder(torch.randn(1, 3, 32, 32)))
        text = torch.zeros(1, 20, tokens.shape[-1])
        mask = torch.zeros(1, 1, tokens.shape[1] + 20, tokens.shape[1] + 20)
        llm: Any = model.llm
        llm(inputs_embeds=torch.cat([tokens, text], dim=1), attention_mask=mask).logits.sum().backward()
    assert found.flops / (found.steps * recipe.stages[0].batch_size) == pytest.approx(
        counter.get_total_flops(), rel=0.15
    )


def test_sharding_checkpointing_and_lora_take_less() -> None:
    recipe = load_recipe("medm-vl-ct-chest")
    alone, eight = estimate(recipe, OURS).stages[1], estimate(recipe, replace(OURS, gpus=8)).stages[1]
    assert eight.gib < alone.gib / 4 and eight.hours == alone.hours
    kept = estimate(
        load_recipe("medm-vl-ct-chest", ["stages.fine-tune.gradient_checkpointing=false"]), OURS
    ).stages[1]
    assert kept.gib > alone.gib and kept.hours < alone.hours
    lora = estimate(load_recipe("medm-vl-ct-chest", ["stages.fine-tune.parts.llm=lora"]), OURS).stages[1]
    assert lora.trained < alone.trained / 10 and lora.gib < alone.gib / 2


def test_what_is_in_no_table_is_an_error_that_names_it() -> None:
    with pytest.raises(RecipeError, match="someone/else is not on this machine"):
        estimate(load_recipe("medm-vl-2d", ["model.llm.path=someone/else"]), OURS)
    with pytest.raises(UserError, match=r"no hardware 'abacus'\. Known: .*h100-80gb"):
        estimate(load_recipe("medm-vl-2d"), replace(OURS, hardware="abacus"))


def test_the_command_needs_no_weights_and_says_what_is_not_here() -> None:
    command = [sys.executable, "-m", "medmvl", "train", "medm-vl-ct-chest", "--dry-run", "--gpus", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for words in (
        "attention_pooling",
        "256 visual tokens",
        "GPU-hours",
        "not checked against data and weights",
    ):
        assert words in done.stdout


@pytest.mark.parametrize(
    "connector",
    [{"type": "bilinear"}, {"type": "q_former", "text": True}, {"type": "text_selection", "keep": 4}],
    ids=lambda connector: connector["type"],
)
def test_a_connector_that_reads_the_question_is_counted_with_one(connector: dict[str, Any]) -> None:
    loaded = load_recipe("medm-vl-2d-tiny", [f"model.image_connector={json.dumps(connector)}"])
    assert estimate(loaded, OURS).stages[0].flops > 0


def test_what_an_objective_does_not_run_costs_nothing() -> None:
    changes = ['model.image_connector={"type": "bilinear"}', "stages.0.parts={image_connector: full}"]
    answers = estimate(load_recipe("medm-vl-2d-tiny", changes), OURS).stages[0]
    aligned = estimate(
        load_recipe("medm-vl-2d-tiny", [*changes, "stages.0.objective=answer_alignment"]), OURS
    ).stages[0]
    encoded = estimate(
        load_recipe(
            "medm-vl-2d-tiny",
            [*changes, "stages.0.parts={image_encoder: full}", "stages.0.objective=classification"],
        ),
        OURS,
    ).stages[0]
    assert 0 < aligned.flops < 0.8 * answers.flops
    assert aligned.gib < answers.gib
    assert encoded.scaling[0][2].llm == aligned.scaling[0][2].llm == 0 < answers.scaling[0][2].llm

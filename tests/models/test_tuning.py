"""What trains under each mode, and that an adapter saved alone or merged gives the logits it was trained to."""

import re
from typing import Any

import pytest
import torch
from tests.factories.parts import slices, vit3d
from torch import nn
from transformers import AutoModelForCausalLM, Qwen2Config

from medmvl.errors import RecipeError
from medmvl.models.encoders import build_image_encoder, build_volume_encoder
from medmvl.models.part_tuning import PartTuning
from medmvl.models.tuning import (
    apply_tuning,
    load_adapter,
    merge_lora,
    parameter_groups,
    save_adapter,
    tuning_table,
)


class Connector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(2, 16))
        self.norm = nn.LayerNorm(16)
        self.linear = nn.Linear(16, 16)
        self.register_buffer("scale", torch.ones(1))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.linear(self.norm(values)) * self.scale + self.query.sum(0)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mha = nn.MultiheadAttention(16, 2, batch_first=True)
        self.proj = nn.Linear(16, 16)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.proj(self.mha(values, values, values)[0])


class ThreeParts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image_encoder = Attention()
        self.image_connector = Connector()
        self.volume_encoder = None
        config = Qwen2Config(
            vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
            num_key_value_heads=1, tie_word_embeddings=True,
        )  # fmt: skip
        self.llm = AutoModelForCausalLM.from_config(config)

    def get_output_embeddings(self) -> nn.Module:
        return self.llm.get_output_embeddings()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.llm(inputs_embeds=self.image_connector(self.image_encoder(values))).logits


def settings(**modes: str) -> dict[str, PartTuning]:
    return {part: PartTuning.model_validate(mode) for part, mode in modes.items()}


def trained(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def train_a_little(model: nn.Module) -> None:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    for _ in range(2):
        model(torch.randn(2, 4, 16)).square().mean().backward()
        optimizer.step()


def test_frozen_and_full_train_exactly_their_parts() -> None:
    model = ThreeParts()
    apply_tuning(model, settings(image_connector="full", llm="frozen"))
    assert trained(model) == {
        f"image_connector.{name}" for name, _ in model.image_connector.named_parameters()
    }


def test_lora_adapts_one_part_without_head_and_embeddings() -> None:
    model = ThreeParts()
    apply_tuning(model, settings(llm="lora"))
    names = trained(model)
    assert all(name.startswith("llm.") and "lora_" in name for name in names)
    assert not [name for name in names if "lm_head" in name or "embed" in name]
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in names} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip


def test_lora_leaves_projections_alone_that_are_never_called() -> None:
    model = ThreeParts()
    apply_tuning(model, settings(image_encoder="lora"))
    assert {name.split(".lora_")[0] for name in trained(model)} == {"image_encoder.proj"}


def test_patterns_choose_layers_of_their_part_alone() -> None:
    model = ThreeParts()
    chosen = {"mode": "lora", "lora": {"targets": ("*.layers.1.*.q_proj", "v_proj")}}
    apply_tuning(model, {"llm": PartTuning.model_validate(chosen)})
    assert {name.split(".lora_")[0] for name in trained(model)} == {
        "llm.model.layers.1.self_attn.q_proj",
        "llm.model.layers.0.self_attn.v_proj",
        "llm.model.layers.1.self_attn.v_proj",
    }


def test_last_k_trains_the_last_blocks_and_the_norm_behind_them() -> None:
    model = ThreeParts()
    apply_tuning(model, {"llm": PartTuning(mode="last_k", layers=1)})
    expected = {f"llm.model.layers.1.{name}" for name, _ in model.llm.model.layers[1].named_parameters()}
    assert trained(model) == expected | {"llm.model.norm.weight"}
    with pytest.raises(RecipeError, match="it has 2"):
        apply_tuning(model, {"llm": PartTuning(mode="last_k", layers=3)})
    with pytest.raises(RecipeError, match="no stack of blocks"):
        apply_tuning(model, {"image_connector": PartTuning(mode="last_k", layers=1)})
    with pytest.raises(ValueError, match="needs layers"):
        PartTuning(mode="last_k")


STAGES: dict[str, dict[str, Any]] = {
    "convnext": {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 5, 2]},
    "swin": {
        "embed_dim": 8,
        "depths": [1, 1, 5, 2],
        "num_heads": [1, 1, 2, 2],
        "window_size": 2,
        "image_size": 64,
    },
    "resnet": {
        "embedding_size": 8,
        "hidden_sizes": [8, 8, 16, 16],
        "depths": [1, 1, 5, 2],
        "layer_type": "basic",
    },
}
"""Towers whose longest list of blocks is in the stage before the last, as in those that are published."""


@pytest.mark.parametrize("model_type", STAGES)
def test_last_k_of_a_tower_of_stages_trains_the_blocks_that_run_last(model_type: str) -> None:
    model = ThreeParts()
    config = {"model_type": model_type, **STAGES[model_type]}
    model.image_encoder = build_image_encoder({"type": "hf_vision", "config": config})  # type: ignore[assignment]
    names = [f"image_encoder.{name}" for name, _ in model.image_encoder.named_parameters()]
    for count, stage, left_out in ((1, 3, 0), (2, 3, None), (3, 2, 3)):
        apply_tuning(model, {"image_encoder": PartTuning(mode="last_k", layers=count)})
        chosen = [name for name in names if name in trained(model)]
        assert chosen == names[names.index(chosen[0]) :]  # to the very end, with what is between stages
        assert re.search(rf"(stages|layers)\.{stage}\.", chosen[0])
        assert (
            left_out is None
            or f".{stage}.{'blocks' if model_type == 'swin' else 'layers'}.{left_out}." not in str(chosen)
        )
    with pytest.raises(RecipeError, match="it has 9"):
        apply_tuning(model, {"image_encoder": PartTuning(mode="last_k", layers=10)})


@pytest.mark.parametrize(
    ("encoder", "stacks"),
    [
        ({"type": "ct_vit"}, "spatial_layers, depth_layers"),
        (
            {"type": "volume_and_slices", "volume": vit3d(), "slices": slices()},
            r"volume.vit.blocks, slices.encoder.vit.blocks",
        ),
    ],
)
def test_last_k_of_an_encoder_of_several_stacks_is_refused(encoder: dict[str, Any], stacks: str) -> None:
    """One after the other or side by side: which blocks are the last is not for us to guess."""
    model = ThreeParts()
    with torch.device("meta"):
        model.image_encoder = build_volume_encoder(encoder)  # type: ignore[assignment]
    with pytest.raises(RecipeError, match=f"2 stacks of blocks .{stacks}"):
        apply_tuning(model, {"image_encoder": PartTuning(mode="last_k", layers=1)})


def test_last_k_of_dcformer_trains_blocks_and_no_lines() -> None:
    model = ThreeParts()
    with torch.device("meta"):
        model.image_encoder = build_volume_encoder({"type": "dcformer"})  # type: ignore[assignment]
    apply_tuning(model, {"image_encoder": PartTuning(mode="last_k", layers=1)})
    assert {name.split(".depthwise")[0][:32] for name in trained(model) if "depthwise" in name} == {
        "image_encoder.stages.3.blocks.1"
    }


@pytest.mark.parametrize(
    ("tuning", "message"),
    [
        (settings(volume_encoder="full"), "part 'volume_encoder' is not in this model"),
        (settings(connector="full"), "part 'connector' is not in this model"),
        (settings(llm="frozen"), "nothing would train"),
        ({}, "no part is named"),
        ({"llm": PartTuning(mode="lora", lora={"targets": ("query",)})}, "no linear layer is called query"),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_train_is_an_error(tuning: dict[str, PartTuning], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        apply_tuning(ThreeParts(), tuning)


@pytest.mark.parametrize("mode", ["LoRA", "ful", ""])
def test_an_unknown_mode_is_an_error(mode: str) -> None:
    with pytest.raises(ValueError, match="'frozen', 'full', 'lora', 'dora', 'qlora' or 'last_k'"):
        PartTuning.model_validate(mode)


def test_groups_hold_every_trained_weight_once_and_only_matrices_decay() -> None:
    model = ThreeParts()
    tuning = settings(image_connector="full", llm="full")
    tuning["llm"] = PartTuning(mode="full", learning_rate=1e-5)
    apply_tuning(model, tuning)
    groups = parameter_groups(model, tuning, learning_rate=1e-3, weight_decay=0.1)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted({id(p) for p in model.parameters() if p.requires_grad})
    names = {id(p): name for name, p in model.named_parameters()}
    decayed = {names[id(p)] for group in groups if group["weight_decay"] for p in group["params"]}
    assert "image_connector.linear.weight" in decayed
    assert not [n for n in decayed if "norm" in n or "bias" in n or "embed" in n or "query" in n]
    assert {(group["part"], group["lr"]) for group in groups} == {("image_connector", 1e-3), ("llm", 1e-5)}


def test_the_table_counts_what_trains() -> None:
    model = ThreeParts()
    tuning = settings(image_connector="full", llm="lora")
    apply_tuning(model, tuning)
    rows = {row.part: row for row in tuning_table(model, tuning, 1e-3)}
    assert list(rows) == ["image_encoder", "image_connector", "llm"]
    assert (rows["image_encoder"].num_trained, rows["image_encoder"].learning_rate) == (0, None)
    assert rows["image_connector"].num_trained == rows["image_connector"].num_parameters > 0
    assert 0 < rows["llm"].num_trained < rows["llm"].num_parameters


@pytest.mark.parametrize("mode", ["lora", "dora"])
def test_adapter_alone_and_merged_give_equal_logits(tmp_path, mode: str) -> None:
    model, inputs = ThreeParts(), torch.randn(2, 5, 16)
    tuning = settings(image_encoder="frozen", image_connector="full", llm=mode)
    apply_tuning(model, tuning)
    untrained = model(inputs)
    train_a_little(model)
    model.image_connector.scale.fill_(1.5)
    expected = model(inputs)
    assert not torch.allclose(untrained, expected, atol=1e-3)
    save_adapter(model, tuning, tmp_path)

    reloaded = ThreeParts()
    load_adapter(reloaded, tmp_path)
    torch.testing.assert_close(reloaded(inputs), expected, rtol=0, atol=0)

    merge_lora(model)
    torch.testing.assert_close(model(inputs), expected, rtol=1e-4, atol=1e-5)
    assert set(model.state_dict()) == set(ThreeParts().state_dict())


def test_an_adapter_for_another_model_is_an_error(tmp_path) -> None:
    model = ThreeParts()
    tuning = settings(image_connector="full")
    apply_tuning(model, tuning)
    save_adapter(model, tuning, tmp_path)
    other = ThreeParts()
    other.image_connector.linear = nn.Linear(16, 8)
    with pytest.raises(RecipeError, match="made for another model"):
        load_adapter(other, tmp_path)


@pytest.mark.parametrize("mode", ["lora", "dora"])
def test_an_adapter_fits_the_weights_it_was_trained_next_to_alone(tmp_path, mode: str) -> None:
    """Names and shapes are those of the merged model, too, which would get the update a second time."""
    model, tuning = ThreeParts(), settings(image_connector="full", llm=mode)
    apply_tuning(model, tuning)
    train_a_little(model)
    save_adapter(model, tuning, tmp_path)
    merge_lora(model)
    with pytest.raises(RecipeError, match="has the adapter in it"):
        load_adapter(model, tmp_path)
    other = ThreeParts()
    other.llm.model.norm.weight.data[0] += 1e-3
    with pytest.raises(RecipeError, match="the weights that were frozen next to it are others"):
        load_adapter(other, tmp_path)
    rounded = ThreeParts()
    for name, weight in rounded.named_parameters():  # a type that holds the same values is no other base
        weight.data = weight.data.double() if name.startswith("image_encoder") else weight.data
    load_adapter(rounded, tmp_path)

"""Sharded training is training: FSDP2 and ZeRO give the losses and weights of one process, and go on after a rank was lost."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from medmvl.training.recipe_files import parse_recipe
from medmvl.training.sharding import deepspeed_config, in_fixed_order
from tests.factories.ranks import train_in_ranks
from tests.factories.training import (
    losses,
    phantom_cache,
    phantoms,
    recipe,
    stage,
    write_recipe,
    write_text_samples,
)

__all__ = ["phantom_cache"]

SMALL = 1000
"""Gradients reduced at once: far fewer than the model has, so that their order counts."""
KINDS: dict[str, dict[str, Any]] = {
    "fsdp": {"fsdp": {}},
    "zero2": {"deepspeed": {"zero_optimization": {"stage": 2, "reduce_bucket_size": SMALL}}},
    "zero3": {"deepspeed": {"zero_optimization": {"stage": 3, "reduce_bucket_size": SMALL}}},
}

SHARDS = {
    "fsdp": "pytorch_model_fsdp*",
    "zero2": "*_rank_1_*optim_states*",
    "zero3": "*_rank_1_*optim_states*",
}
"""What only a sharded training writes."""


def need(kind: str) -> None:
    """Skip where what shards is not installed."""
    if "deepspeed" in KINDS[kind]:
        pytest.importorskip("deepspeed", reason="the extra `deepspeed` is not installed; `make scale`")


def two_stages(folder: Path, **more: Any) -> Path:
    """Steps in which one rank has text alone and the other a volume; then LoRA next to a part that trains whole."""
    texts = folder / "texts.jsonl"
    write_text_samples(texts, 40)
    document = recipe(
        stage(batch_size=4, micro_batch_size=1, max_steps=4, group="none", eval_steps=2, save_steps=2),
        stage("lora", batch_size=4, max_steps=2, parts={"llm": "lora", "volume_connector": "full"}),
        train=[phantoms(question_types=["ct_nodule", "ct_effusion"], limit=60), {"path": str(texts)}],
        **more,
    )
    return write_recipe(folder / f"{'-'.join(more) or 'plain'}.yaml", document)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, phantom_cache: Path) -> Path:
    """The run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    assert train_in_ranks([two_stages(folder), "--out", folder / "run"], 1, folder / "logs") == [0]
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_sharded_equals_one_process_and_resumes(kind: str, alone: Path, tmp_path: Path) -> None:
    need(kind)
    file, out = two_stages(tmp_path, distributed=KINDS[kind]), tmp_path / "run"
    codes = train_in_ranks([file, "--out", out], 2, tmp_path / "first", die=(1, 3))
    said = (tmp_path / "first" / "0").read_text()
    assert codes == [2, -9], said[-3000:]
    assert "rank 1 (process " in said and "The same command goes on" in said
    assert not (out / "history.jsonl").exists()
    (checkpoint,) = (out / "stages" / "01-instruct" / "checkpoints").glob("checkpoint-*")
    assert checkpoint.name == "checkpoint-2" and list(checkpoint.rglob(SHARDS[kind]))

    codes = train_in_ranks([file, "--out", out], 2, tmp_path / "second")
    said = (tmp_path / "second" / "0").read_text()
    assert codes == [0, 0], said[-3000:]
    assert "| 2/4 [" in said and "| 1/4 [" not in said
    one, two = losses(alone), losses(out)
    assert len(one) > 10
    assert two == pytest.approx(one, rel=1e-5)
    expected, found = (load_file(run / "model" / "model.safetensors") for run in (alone, out))
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-4, atol=1e-6)


def pairs(folder: Path, **more: Any) -> Path:
    """The objectives that compare pairs with a learned temperature, and the labels that may come before them."""
    encoders = {"image_encoder": "full", "volume_encoder": "full"}
    connectors = dict.fromkeys(("image_connector", "volume_connector"), "full")
    steps = {"batch_size": 4, "max_steps": 2, "group": "none", "eval_steps": 1}
    document = recipe(
        stage("labels", objective="classification", parts=encoders, **steps),
        stage("pairs", objective="contrastive", parts=encoders, **steps),
        stage("align", objective="answer_alignment", parts=connectors, **steps),
        train=[phantoms()],
        **more,
    )
    document["data"]["validation"] = [phantoms("validation", limit=6)]
    reading = {"type": "bilinear", "rank": 8, "glimpses": 2, "dropout": 0.0}
    document["model"] |= dict.fromkeys(connectors, reading)
    return write_recipe(folder / f"{'-'.join(more) or 'plain'}.yaml", document)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_pairs_and_labels_are_learned_sharded_as_by_one_process(
    kind: str, tmp_path: Path, phantom_cache: Path
) -> None:
    need(kind)
    files = (pairs(tmp_path), pairs(tmp_path, distributed=KINDS[kind]))
    for count, file in enumerate(files, 1):
        logs = tmp_path / f"logs-{count}"
        codes = train_in_ranks([file, "--out", tmp_path / str(count)], count, logs)
        assert codes == [0] * count, (logs / "0").read_text()[-3000:]
    one, two = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert len(one) > 12
    assert two == pytest.approx(one, rel=1e-5)
    stages = [tmp_path / name / "stages" for name in ("1", "2")]
    for part in ("01-labels/model/heads", "02-pairs/model/heads", "03-align/model/model"):
        expected, found = (load_file(folder / f"{part}.safetensors") for folder in stages)
        assert found.keys() == expected.keys()
        for (
            name,
            weight,
        ) in expected.items():  # a step moves a weight by 1e-3, whatever rounding its gradient is made of
            torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-4)


def test_what_a_stage_decides_is_refused_in_a_configuration_of_deepspeed() -> None:
    for key, value in (
        ("optimizer", {"type": "SGD"}),
        ("gradient_clipping", 0.5),
        ("bf16", {"enabled": True}),
        ("train_batch_size", 8),
    ):
        with pytest.raises(Exception, match=f"{key} is .* of a stage decides it"):
            parse_recipe(recipe(distributed={"deepspeed": {key: value}}), "r")
    parse_recipe(
        recipe(distributed={"deepspeed": {"gradient_clipping": "auto", "bf16": {"enabled": "auto"}}}), "r"
    )


def test_the_first_fsdp_is_refused() -> None:
    with pytest.raises(Exception, match="expected 2, FSDP2"):
        parse_recipe(recipe(distributed={"fsdp": {"version": 1}}), "r")


def test_deepspeed_gets_what_accelerate_would_set_otherwise() -> None:
    pytest.importorskip("deepspeed")
    found = deepspeed_config({"zero_optimization": {"stage": 3}, "wall_clock_breakdown": True})
    assert found["gradient_clipping"] == "auto"  # accelerate would clip at 1.0
    assert found["zero_optimization"] == {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}
    assert found["wall_clock_breakdown"] is True


def test_gradients_become_complete_in_one_order_whatever_ran_first() -> None:
    layers = [torch.nn.Linear(2, 2) for _ in range(3)]
    weights = [weight for layer in layers for weight in layer.parameters()]
    orders = []
    for used in ([0, 1], [1, 0], [2], []):
        seen: list[int] = []
        hooks = [
            weight.register_post_accumulate_grad_hook(lambda _, number=number, seen=seen: seen.append(number))
            for number, weight in enumerate(weights)
        ]
        for weight in weights:
            weight.grad = None
        order = in_fixed_order(weights)
        x = torch.ones(1, 2, requires_grad=True)
        plain = x
        for number in used:
            plain = layers[number](plain)
        (plain.sum() + order).backward()
        orders.append(seen)
        for number, layer in enumerate(layers):
            assert bool(layer.bias.grad.any()) == (number in used)
        for hook in hooks:
            hook.remove()
    assert len(orders[0]) == len(weights)
    assert orders.count(orders[0]) == len(orders)

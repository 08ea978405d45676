"""The simulator says what binds, and its operations, memory and exchanged bytes are those of a training that is run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from medmvl.data.prepared import default_cache_dir
from medmvl.models.assemble import assemble
from medmvl.training.estimate import Assumptions, estimate
from medmvl.training.hardware import find_accelerator
from medmvl.training.recipe import Distributed
from medmvl.training.recipe_files import load_recipe, parse_recipe
from medmvl.training.run import load_sources, training_texts
from medmvl.training.scaling import COUNTS, Workload, exchanged_bytes, simulate
from medmvl.training.stage import build_objective
from medmvl.training.stage_data import Collate
from medmvl.training.stage_plan import plan_stage
from tests.factories.training import phantom_cache, phantoms, recipe, stage

__all__ = ["phantom_cache"]

LOAD = Workload(
    batch_size=512, steps=1000, encoder_flops=2e12, llm_flops=1e13, read_seconds=0.1, workers=8, trained=int(3e9), sharded=0,
)  # fmt: skip
H100 = find_accelerator("h100-80gb")
FACTOR_OF_OPERATIONS = 2.0
FACTOR_OF_ACTIVATIONS = 2.0


def binding(load: Workload, gpus: int = 64, **more: Any) -> str:
    step = simulate(load, H100, gpus, utilisation=0.35, **more)
    assert step is not None
    return step.binds


def test_what_is_made_dear_is_what_binds() -> None:
    assert binding(replace(LOAD, trained=0)) == "LLM"
    assert binding(replace(LOAD, trained=0, encoder_flops=2e13)) == "encoder"
    assert binding(replace(LOAD, trained=0, read_seconds=10)) == "loader"
    assert binding(replace(LOAD, trained=0, read_seconds=10, workers=10_000)) == "LLM"
    assert binding(LOAD, network=0.5) == "network"
    assert binding(LOAD, gpus=1, network=0.001) == "LLM"  # nothing is exchanged


def test_more_gpus_never_compute_longer_and_an_uneven_batch_is_refused() -> None:
    steps = [simulate(replace(LOAD, trained=0), H100, gpus, utilisation=0.35) for gpus in COUNTS]
    hours = [step.hours for step in steps if step is not None]
    assert len(hours) == len(COUNTS) and hours == sorted(hours, reverse=True)
    assert hours[0] / hours[-1] == pytest.approx(512)
    assert simulate(LOAD, H100, 3, utilisation=0.35) is None
    assert simulate(LOAD, H100, 1024, utilisation=0.35) is None


def test_bytes_are_those_of_a_ring() -> None:
    whole = LOAD.trained * 4
    assert exchanged_bytes(LOAD, 1) == 0
    assert exchanged_bytes(LOAD, 2) == whole  # each sends half of it twice
    assert exchanged_bytes(replace(LOAD, sharded=LOAD.trained), 2) == (2 * LOAD.trained * 2 + whole) / 2


@pytest.mark.parametrize(
    ("said", "shared"),
    [
        ({}, 0),
        ({"deepspeed": {"zero_optimization": {"stage": 1}}}, 8),
        ({"deepspeed": {"zero_optimization": {"stage": 2}}}, 12),
        ({"deepspeed": {"zero_optimization": {"stage": 3}}}, 16),
        ({"fsdp": {}}, 16),
    ],
)
def test_memory_follows_what_is_sharded(said: dict[str, Any], shared: int) -> None:
    assert Distributed.model_validate(said).shared_bytes == shared
    document = recipe(stage(batch_size=64, micro_batch_size=1), distributed=said)
    found = {
        gpus: gib for gpus, gib, _ in estimate(parse_recipe(document, "r"), Assumptions()).stages[0].scaling
    }
    total = estimate(parse_recipe(document, "r"), Assumptions()).stages[0].trained
    saved = (found[1] - found[64]) * 2**30
    assert saved == pytest.approx(total * shared * 63 / 64, rel=1e-6, abs=1)


def test_operations_and_activations_of_a_step_are_as_estimated(phantom_cache: Path) -> None:
    """Of one step of the real objective on real batches: the operations, and the bytes that autograd keeps."""
    document = recipe(
        stage(batch_size=8, micro_batch_size=8, group="none"),
        train=[phantoms(question_types=["ct_effusion"], limit=8)],
    )
    document["model"]["llm"]["config"] |= {
        "num_hidden_layers": 4,
        "hidden_size": 64,
        "intermediate_size": 256,
    }
    loaded = parse_recipe(document, "r")
    sources = load_sources(loaded, default_cache_dir())
    model, processor = assemble(loaded.model, texts=training_texts(loaded, sources))
    plan = plan_stage(loaded, loaded.stages[0], model, processor, sources)
    batch = Collate(processor, "lm")([plan.train[index] for index in range(8)])
    visual = processor.visual_preprocessor.max_tokens("volume")
    text = batch["input_ids"].shape[1] - visual
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if not isinstance(tensor, torch.nn.Parameter):
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    objective = build_objective(plan).train()
    with (
        FlopCounterMode(display=False) as counter,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t),
    ):
        objective(**batch)["loss"].backward()
    vocabulary = model.config.get_text_config().vocab_size
    document["model"]["llm"]["tokenizer_vocab_size"] = vocabulary
    found = estimate(parse_recipe(document, "r"), Assumptions(text_tokens=text)).stages[0]

    operations = counter.get_total_flops() / 8
    estimated = found.flops / found.steps / 8
    # the dearer of both kinds is in every sample of an estimate, and all positions get logits
    assert 1 / FACTOR_OF_OPERATIONS < estimated / operations < FACTOR_OF_OPERATIONS
    states = 16 * found.trained
    activations = found.gib * 2**30 - states
    measured = sum(kept.values()) / 2  # kept in float32 here, estimated in bfloat16
    assert 1 / FACTOR_OF_ACTIVATIONS < activations / measured < FACTOR_OF_ACTIVATIONS


def test_phantoms_are_read_in_no_time_and_a_scan_of_a_hospital_is_not() -> None:
    """What is assumed is said, and the quickstart is not told to take a night."""
    quick = estimate(load_recipe("quickstart"), Assumptions()).stages[-1]
    assert "loader (at 0.004 s per sample)" in next(quick.scaling_lines(1))
    step = next(step for gpus, _, step in quick.scaling if gpus == 1 and step is not None)
    assert step.hours < 0.2
    own = load_recipe("quickstart", ["data.train=[{path: mine.jsonl}]"])
    assert estimate(own, Assumptions()).stages[-1].read_seconds > 1 > quick.read_seconds


def test_the_flagship_says_hours_memory_and_what_binds() -> None:
    stages = estimate(load_recipe("medm-vl-ct-chest"), Assumptions(gpus=8, hardware="h100-80gb")).stages
    for planned in stages:
        lines = list(planned.scaling_lines(8))
        assert sum(line.endswith(" <") for line in lines) == 1
        assert all(word in lines[0] for word in ("hours", "GiB per GPU", "binds"))
    assert "16, 32" not in "".join(stages[1].scaling_lines(8))  # 16 samples have a share for 16
    assert "batch_size has no even share" in list(stages[1].scaling_lines(8))[-1]

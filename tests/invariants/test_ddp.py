"""Two processes give the loss of one with the same global batches, also where one rank has text and the other a volume."""

import subprocess
from pathlib import Path

import pytest

from medmvl.data.prepared import default_cache_dir
from medmvl.models.assemble import assemble
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import load_sources, training_texts
from medmvl.training.stage_plan import plan_stage
from tests.factories.training import (
    command,
    losses,
    phantom_cache,
    phantoms,
    recipe,
    stage,
    write_recipe,
    write_text_samples,
)

__all__ = ["phantom_cache"]

ENCODERS = {"image_encoder": "full", "volume_encoder": "full"}


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path: Path, phantom_cache: Path) -> None:
    texts = tmp_path / "texts.jsonl"
    write_text_samples(texts, 40)
    document = recipe(
        stage("encoders", objective="classification", parts=ENCODERS, batch_size=2),
        stage("pairs", objective="contrastive", parts=ENCODERS),
        stage("instruct", batch_size=2, max_steps=8, group="none", eval_steps=4),
        stage("accumulate", batch_size=8, micro_batch_size=1, max_steps=3, gradient_checkpointing=True),
        train=[phantoms(question_types=["ct_nodule", "ct_effusion"], limit=60), {"path": str(texts)}],
    )
    for encoders in document["stages"][:2]:
        encoders["data"] = {"train": [phantoms()], "validation": [phantoms("validation", limit=6)]}
    assert mixed_steps(document) > 0
    file = write_recipe(tmp_path / "recipe.yaml", document)
    for count in (1, 2):
        arguments = command(file, "--out", tmp_path / str(count), processes=count)
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=150)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "find_unused_parameters" not in done.stderr
    one, two = losses(tmp_path / "1"), losses(tmp_path / "2")
    assert len(one) > 30
    assert two == pytest.approx(one, rel=1e-5)


def mixed_steps(document: dict) -> int:
    """Steps of the instruction stage in which one rank has only text and the other a volume."""
    loaded = parse_recipe(document, "r")
    sources = load_sources(loaded, default_cache_dir())
    model, processor = assemble(loaded.model, texts=training_texts(loaded, sources))
    plan = plan_stage(loaded, loaded.stages[2], model, processor, sources)
    order = list(plan.order)
    visuals = [[block.type for block in plan.train.samples.sample(index).visuals] for index in order]
    return sum(
        {tuple(a), tuple(b)} == {(), ("volume",)} for a, b in zip(visuals[::2], visuals[1::2], strict=True)
    )

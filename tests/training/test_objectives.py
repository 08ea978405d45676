"""What encoder stages see: all streams of an encoder, whatever their grids. What an objective trains of its own."""

from pathlib import Path

import pytest
import torch

from medmvl.data.prepared import default_cache_dir
from medmvl.models.assemble import assemble
from medmvl.models.features import VisualFeatures
from medmvl.training.objectives import _tokens_of
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import load_sources, training_texts
from medmvl.training.stage import build_objective, optimizer_groups
from medmvl.training.stage_plan import plan_stage
from tests.factories.training import phantom_cache, phantoms, recipe, stage

__all__ = ["phantom_cache"]

ENCODERS = {"image_encoder": "full", "volume_encoder": "full"}
CONNECTORS = {"image_connector": "full", "volume_connector": "full"}
OBJECTIVES = {
    "lm": (CONNECTORS, set()),
    "classification": (ENCODERS, {"image.norm", "volume.judge"}),
    "contrastive": (ENCODERS, {"text", "scale"}),
    "answer_alignment": (CONNECTORS, {"scale"}),
}
"""Of each objective: parts, and some of the weights that are its own."""


def test_streams_of_other_grids_come_to_the_grid_of_the_first() -> None:
    fine = torch.arange(8.0).reshape(1, 8, 1)
    coarse = torch.tensor([[[10.0], [20.0]]])
    tokens = _tokens_of(VisualFeatures((fine, coarse), (2, 2, 2), None, None, ((2, 2, 2), (2, 1, 1))))
    assert tokens[:, 0].tolist() == list(range(8))
    assert tokens[:, 1].tolist() == [10.0] * 4 + [20.0] * 4


def test_masked_tokens_are_not_seen() -> None:
    mask = torch.tensor([[True, False]])
    tokens = _tokens_of(VisualFeatures((torch.tensor([[[1.0], [2.0]]]),), (1, 1, 2), mask))
    assert tokens.tolist() == [[1.0]]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_weight_that_trains_is_moved_by_the_optimizer_once(objective: str, phantom_cache: Path) -> None:
    parts, own = OBJECTIVES[objective]
    document = recipe(stage("one", objective=objective, parts=parts), train=[phantoms()])
    document["model"] |= {name: {"type": "bilinear", "rank": 8} for name in CONNECTORS}
    loaded = parse_recipe(document, "r")
    sources = load_sources(loaded, default_cache_dir())
    model, processor = assemble(loaded.model, texts=training_texts(loaded, sources))
    plan = plan_stage(loaded, loaded.stages[0], model, processor, sources)
    built = build_objective(plan)
    moved = [id(weight) for group in optimizer_groups(plan, built) for weight in group["params"]]
    trains = {id(weight): name for name, weight in built.named_parameters() if weight.requires_grad}
    assert len(moved) == len(set(moved)) and set(moved) == set(trains)
    for name in own:
        assert any(name in trained for trained in trains.values()), name

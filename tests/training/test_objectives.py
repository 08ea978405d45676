"""What encoder stages see: all streams of an encoder, whatever their grids. What an objective trains of its own."""

from pathlib import Path
from typing import Any

import pytest
import torch

from medmvl.data.prepared import default_cache_dir
from medmvl.errors import SampleError
from medmvl.models.assemble import assemble
from medmvl.models.features import VisualFeatures
from medmvl.schema import Sample
from medmvl.training.objectives import _tokens_of
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import load_sources, training_texts
from medmvl.training.stage import build_objective, optimizer_groups
from medmvl.training.stage_data import Collate, Item, Studies
from medmvl.training.stage_plan import plan_stage
from tests.factories.data import processor
from tests.factories.models import image_of
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


def sample(number: int, path: str, **more: Any) -> Sample:
    asked = [{"type": "image", "image": path}, {"type": "text", "text": "Well?"}]
    answer = more.pop("answer", "yes")
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return Sample.model_validate({"id": f"s{number}", "messages": turns, **more})


def test_a_study_has_the_labels_of_all_its_samples() -> None:
    """A table with a row per finding says one label in each; the first row alone would leave the others unknown."""
    said = [("a", {"nodule": 1}), ("b", {"nodule": 0}), ("a", {"effusion": 0, "nodule": 1}), ("b", {})]
    samples = [sample(number, path, labels=labels) for number, (path, labels) in enumerate(said)]
    studies = Studies(samples, "labels")
    assert [study.labels for study in studies] == [{"nodule": 1, "effusion": 0}, {"nodule": 0}]
    assert samples[0].labels == {"nodule": 1}
    with pytest.raises(
        SampleError, match=r"'s4' has the label 'effusion' at 1, .*'s0' or one after it, at 0"
    ):
        Studies([*samples, sample(4, "a", labels={"effusion": 1})], "labels")


@pytest.mark.parametrize("objective", ["contrastive", "answer_alignment"])
def test_no_word_of_a_long_report_is_cut_off(objective: str) -> None:
    report = "nodule and effusion " * 400
    made = processor(max_length=4096)
    long = sample(0, "a", answer=report)
    processed = made.prepare(long.messages, made.visual_loader(image_of), supervised=True)
    batch = Collate(made, objective)([Item(long, processed)])
    whole = made.tokenizer(long.messages[-1].text, add_special_tokens=False)["input_ids"]
    assert len(whole) > 512 and batch["text_ids"][0].tolist() == whole

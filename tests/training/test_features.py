"""Training from features kept on disk: the same losses on, off and found again; no file is read for them."""

from pathlib import Path
from typing import Any

import pytest

from medmvl.data import dataset, prepared
from medmvl.data.feature_cache import FeatureCache
from medmvl.data.prepared import default_cache_dir
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import train
from tests.factories.training import losses, phantom_cache, phantoms, recipe, stage

__all__ = ["phantom_cache"]

FROZEN_ENCODERS = {"image_connector": "full", "volume_connector": "full", "llm": "full"}
FROZEN_CONNECTORS = {"llm": "full"}
GUIDED = {"type": "text_guided_slices"}


def document(parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    made = recipe(stage(parts=parts, max_steps=6), train=[phantoms(limit=10)])
    made["data"] |= more
    return made


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The blocks whose files were read."""
    blocks: list[Any] = []
    real = prepared.process_block

    def counted(processor: Any, load: Any, block: Any) -> Any:
        blocks.append(block)
        return real(processor, load, block)

    monkeypatch.setattr(dataset, "process_block", counted)
    return blocks


@pytest.mark.parametrize("parts", [FROZEN_ENCODERS, FROZEN_CONNECTORS], ids=["encoders", "connectors"])
def test_losses_are_equal_on_off_and_found_again(
    tmp_path: Path, phantom_cache: Path, decoded: list[Any], parts: dict[str, Any]
) -> None:
    cache = FeatureCache(default_cache_dir())
    cache.clear()
    train(parse_recipe(document(parts, features=False), "off"), tmp_path / "off")
    assert cache.entries() == []
    train(parse_recipe(document(parts), "on"), tmp_path / "on")
    assert cache.entries()
    decoded.clear()
    train(parse_recipe(document(parts), "again"), tmp_path / "again")
    assert decoded == [], "no file is read where its features are there"
    assert losses(tmp_path / "off") == losses(tmp_path / "on") == losses(tmp_path / "again") != {}

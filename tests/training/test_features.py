"""Training from features kept on disk: the same losses on, off and found again; no file is read for them."""

import logging
import subprocess
from pathlib import Path
from typing import Any

import pytest

from medmvl.data import dataset, prepared
from medmvl.data.feature_cache import FeatureCache
from medmvl.data.prepared import default_cache_dir
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import train
from tests.factories.training import (
    ALL_FULL,
    command,
    losses,
    phantom_cache,
    phantoms,
    recipe,
    stage,
    write_recipe,
)

__all__ = ["phantom_cache"]

FROZEN_ENCODERS = {"image_connector": "full", "volume_connector": "full", "llm": "full"}
FROZEN_CONNECTORS = {"llm": "full"}


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


def test_stages_share_features_and_one_that_trains_the_encoder_reads_pixels(
    tmp_path: Path, phantom_cache: Path, decoded: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    FeatureCache(default_cache_dir()).clear()
    lora = {"volume_encoder": "lora", "llm": "full"}
    stages = (
        stage("align", parts=FROZEN_ENCODERS, max_steps=6),
        stage("instruct", parts={"llm": "lora"}, max_steps=2, num_workers=2),
        stage("adapt", parts=lora, max_steps=2),
        stage("all", parts=ALL_FULL, max_steps=2),
    )
    made = recipe(*stages, train=[phantoms(limit=10)])
    made["data"]["validation"] = []
    with caplog.at_level(logging.INFO):
        train(parse_recipe(made, "four"), tmp_path / "four")
    said = [message.strip() for message in caplog.messages if message.strip().startswith("features ")]
    assert [line.split(" kept")[0] for line in said] == [
        "features of every image and volume are", "features of every image and volume are",
        "features of every image are", "features are not",
    ]  # fmt: skip
    assert "volume encoder are not, as it trains" in said[2] and "image and volume encoders train" in said[3]


@pytest.mark.slow
def test_two_processes_fill_one_cache_that_one_process_reads(
    tmp_path: Path, phantom_cache: Path, decoded: list[Any]
) -> None:
    """With a worker each. Losses are those of one process, with the cache and without."""
    one_stage = stage(parts=FROZEN_ENCODERS, max_steps=6, batch_size=4, group="none")
    made = recipe({**one_stage, "num_workers": 1}, train=[phantoms(limit=20)])
    cache = FeatureCache(default_cache_dir())
    cache.clear()
    file = write_recipe(tmp_path / "recipe.yaml", made)
    done = subprocess.run(
        command(file, "--out", tmp_path / "two", processes=2), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert cache.entries()
    alone = recipe(one_stage, train=[phantoms(limit=20)])
    train(parse_recipe(alone, "one"), tmp_path / "one")
    assert decoded == []
    alone["data"]["features"] = False
    train(parse_recipe(alone, "off"), tmp_path / "off")
    assert decoded
    assert losses(tmp_path / "one") == losses(tmp_path / "off")
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)

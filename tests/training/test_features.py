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
def test_two_processes_share_one_cache_with_workers(tmp_path: Path, phantom_cache: Path) -> None:
    """Losses of one process and of two, with and without the cache, and after a first run has filled it."""
    made = recipe(
        stage(parts=FROZEN_ENCODERS, max_steps=6, batch_size=4, group="none", num_workers=1),
        train=[phantoms(limit=20)],
    )
    cache = FeatureCache(default_cache_dir())
    found = {}
    for name, count, kept in (("off", 1, False), ("two", 2, None), ("again", 2, None), ("one", 1, None)):
        if name == "two":
            cache.clear()
        made["data"]["features"] = kept
        file = write_recipe(tmp_path / f"{name}.yaml", made)
        done = subprocess.run(
            command(file, "--out", tmp_path / name, processes=count),
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found[name] = losses(tmp_path / name)
    assert cache.entries()
    assert found["off"] == found["one"] and found["two"] == found["again"]
    assert found["two"] == pytest.approx(found["one"], rel=1e-5)

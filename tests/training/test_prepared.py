"""Training from scans kept on disk: the same losses, each scan read once; unified with the cache that can be cleared."""

import json
from pathlib import Path

import pytest

from medmvl.data.prepared import PreparedCache, default_cache_dir
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import train
from tests.factories.training import phantom_cache, phantoms, recipe, stage

__all__ = ["phantom_cache"]


def losses(out: Path) -> list[tuple[str, float]]:
    records = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    return [(key, record[key]) for record in records for key in ("loss", "eval_loss") if key in record]


@pytest.mark.slow
def test_losses_are_equal_with_and_without(
    tmp_path: Path, phantom_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medmvl.data import prepared

    stages = stage("encoders", objective="classification", max_steps=2), stage(max_steps=3)
    document = recipe(*stages, train=[phantoms(limit=8)])
    train(parse_recipe(document, "plain"), tmp_path / "plain")
    document["data"] = {**document["data"], "prepared": True}
    scans = PreparedCache(default_cache_dir())
    scans.clear()
    train(parse_recipe(document, "prepared"), tmp_path / "first")
    kept = len(scans.entries())
    assert kept > 0
    read = []
    process_block = prepared.process_block
    monkeypatch.setattr(prepared, "process_block", lambda *args: read.append(args[2]) or process_block(*args))
    train(parse_recipe(document, "prepared"), tmp_path / "again")
    assert read == [], "every scan came from the cache"
    expected = losses(tmp_path / "plain")
    assert len(expected) >= 5
    assert losses(tmp_path / "first") == losses(tmp_path / "again") == expected
    assert scans.clear() == kept


def test_a_stage_may_ask_for_it_alone() -> None:
    alone = stage(data={"train": [phantoms()], "prepared": True})
    built = parse_recipe(recipe(stage("plain"), alone), "two")
    assert [built.data_of(one).prepared for one in built.stages] == [False, True]

"""`medmvl data prepare`: what stages look for is there before they begin; `medmvl data cache` shows and clears it."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from medmvl.data import dataset, entry_cache, prepared
from medmvl.data.entry_cache import default_cache_dir
from medmvl.data.feature_cache import FeatureCache
from medmvl.training.recipe_files import parse_recipe
from medmvl.training.run import train
from tests.factories.commands import run
from tests.factories.training import ALL_FULL, phantom_cache, phantoms, recipe, stage, write_recipe

__all__ = ["phantom_cache"]

PARTS = {"image_connector": "full", "volume_connector": "full", "llm": "full"}


@pytest.fixture
def document(phantom_cache: Path) -> dict[str, Any]:
    for cache in (FeatureCache(default_cache_dir()), prepared.PreparedCache(default_cache_dir())):
        cache.clear()
    made = recipe(stage(parts=PARTS, max_steps=4), train=[phantoms(limit=10)])
    made["data"]["test"] = [phantoms("test", limit=4)]
    return made


def test_a_prepared_recipe_reads_no_file(
    tmp_path: Path,
    document: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = write_recipe(tmp_path / "recipe.yaml", document)
    assert run("data", "prepare", file, "--features") == 0
    first = capsys.readouterr().out
    count = len(FeatureCache(default_cache_dir()).entries())
    assert count > 3 and f"{count} of {count} scans are kept as features, {count} of them now" in first
    assert run("data", "prepare", file, "--features") == 0
    assert "0 of them now" in capsys.readouterr().out
    monkeypatch.setattr(dataset, "process_block", lambda *args: pytest.fail("a file was read"))
    train(parse_recipe(document, "prepared"), tmp_path / "run")
    assert len(FeatureCache(default_cache_dir()).entries()) == count
    assert run("data", "prepare", file) == 0
    assert f"{count} of {count} scans are kept as pixels" in capsys.readouterr().out
    assert run("data", "cache") == 0
    shown = capsys.readouterr().out
    for line in (f"pixels    {count} scans", f"features  {count} views of scans", "phantoms  1 data sets"):
        assert line in shown
    assert run("data", "cache", "--clear", "--only", "pixels") == 0
    assert "0 scans" in said(capsys, "data", "cache") and f"{count} views" in said(capsys, "data", "cache")
    assert run("data", "cache", "--clear") == 0
    last = said(capsys, "data", "cache")
    assert "features  0 views" in last and "phantoms  1 data sets" in last


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert run(*arguments) == 0
    return capsys.readouterr().out


def test_what_trains_is_not_prepared_and_a_broken_file_is_named(
    tmp_path: Path, document: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    document["stages"] = [stage(parts=ALL_FULL)]
    file = write_recipe(tmp_path / "recipe.yaml", document)
    assert run("data", "prepare", file, "--features") == 2
    assert "trains in stage 'instruct'" in capsys.readouterr().err
    document["stages"] = [stage(parts={**PARTS, "image_encoder": "full"})]
    (tmp_path / "a.npy").write_bytes(b"nothing")
    (tmp_path / "data.jsonl").write_text(
        '{"id": "a", "messages": [{"role": "user", "content": [{"type": "volume", "volume": "a.npy"}, {"type": "text", "text": '
        '"?"}]}, {"role": "assistant", "content": "Yes."}]}'
    )
    document["data"]["train"].append({"path": str(tmp_path / "data.jsonl")})
    file = write_recipe(tmp_path / "recipe.yaml", document)
    assert run("data", "prepare", file, "--features") == 2
    told = capsys.readouterr()
    assert "Not made: image features: the encoder trains in stage 'instruct' before" in told.out
    assert "a.npy" in told.err and "Traceback" not in told.err


@pytest.mark.parametrize("features", [[], ["--features"]])
@pytest.mark.parametrize("workers", ["0", "1"])
def test_a_cache_without_room_is_an_error_and_the_same_command_goes_on(
    tmp_path: Path,
    document: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    features: list[str],
    workers: str,
) -> None:
    file = write_recipe(tmp_path / "recipe.yaml", document)
    command = ("data", "prepare", file, *features, "--workers", workers)
    with monkeypatch.context() as patch:
        patch.setenv("MEDMVL_CACHE_GIB", "0.0000001")
        assert run(*command) == 2
    told = capsys.readouterr().err
    assert told.count("Error: ") == 1 and "MEDMVL_CACHE_GIB" in told and "Traceback" not in told
    with monkeypatch.context() as patch:
        patch.setattr(entry_cache, "atomic_write", full_disk)
        assert run(*command) == 2
    assert "run the same command again" in capsys.readouterr().err
    assert "are kept as" in said(capsys, *map(str, command))


def full_disk(*arguments: object, **named: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

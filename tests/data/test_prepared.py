"""The cache of processed pixels: private, limited, and never an answer to another question."""

import os
import stat
from pathlib import Path

import pytest
import torch

from medmvl.data.prepared import PreparedCache, cache_key, default_cache_dir, settings_digest
from medmvl.datasets.loader import BlockLoader
from medmvl.models.processing import MedMVLProcessor
from medmvl.schema import ImageBlock, VolumeBlock
from tests.factories.data import VOLUME_BLOCK, picture, processor, volume


@pytest.fixture(scope="module")
def tiny() -> MedMVLProcessor:
    return processor()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_reads_it(tmp_path: Path, tiny: MedMVLProcessor) -> None:
    picture(tmp_path / "Smith_John.png")
    cache = PreparedCache(tmp_path / "cache")
    cache.wrap(BlockLoader(tmp_path), tiny)(ImageBlock(image="Smith_John.png"))
    (entry,) = cache.entries()
    assert mode(cache.folder) == 0o700
    assert mode(entry) == 0o600
    assert "Smith" not in entry.name
    assert b"Smith" not in entry.read_bytes()


def test_the_key_follows_file_declaration_and_settings(tmp_path: Path, tiny: MedMVLProcessor) -> None:
    load = BlockLoader(tmp_path)
    settings = settings_digest(tiny)
    file = volume(tmp_path / "v.npy")
    block = VolumeBlock.model_validate({**VOLUME_BLOCK, "volume": "v.npy"})
    first = cache_key(load, block, settings)
    assert cache_key(load, block, settings) == first
    other = settings_digest(processor(volume_processor={"size": [8, 16, 16], "windows": ["lung"]}))
    assert cache_key(load, block, other) != first
    assert cache_key(load, block.model_copy(update={"units": "arbitrary"}), settings) != first
    assert cache_key(load, block.model_copy(update={"volume": "v.npy#time=1"}), settings) != first
    os.utime(file, ns=(1, 1))
    assert cache_key(load, block, settings) != first


def test_a_changed_file_is_read_anew_and_a_damaged_entry_is_replaced(
    tmp_path: Path, tiny: MedMVLProcessor
) -> None:
    load = PreparedCache(tmp_path / "cache").wrap(BlockLoader(tmp_path), tiny)
    block = ImageBlock(image="a.png")
    picture(tmp_path / "a.png", seed=0)
    first = load(block).pixels
    (entry,) = PreparedCache(tmp_path / "cache").entries()
    entry.write_bytes(entry.read_bytes()[:100])
    assert torch.equal(load(block).pixels, first)
    picture(tmp_path / "a.png", seed=1)
    assert not torch.equal(load(block).pixels, first)


def test_the_least_recently_used_go_first(tmp_path: Path, tiny: MedMVLProcessor) -> None:
    unlimited = PreparedCache(tmp_path / "cache")
    load = unlimited.wrap(BlockLoader(tmp_path), tiny)
    for number in range(3):
        picture(tmp_path / f"{number}.png", number)
        load(ImageBlock(image=f"{number}.png"))
    for entry, moment in zip(unlimited.entries(), (10, 20, 30), strict=True):
        os.utime(entry, (moment, moment))
    oldest = unlimited.entries()[0]
    limited = PreparedCache(tmp_path / "cache", limit=unlimited.num_bytes())
    picture(tmp_path / "new.png", 9)
    limited.wrap(BlockLoader(tmp_path), tiny)(ImageBlock(image="new.png"))
    assert limited.num_bytes() <= limited.limit
    assert oldest not in limited.entries()
    assert len(limited.entries()) == 3


def test_clear_and_place(tmp_path: Path, tiny: MedMVLProcessor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDMVL_CACHE", str(tmp_path / "mine"))
    cache = PreparedCache(default_cache_dir())
    picture(tmp_path / "a.png")
    cache.wrap(BlockLoader(tmp_path), tiny)(ImageBlock(image="a.png"))
    assert cache.clear() == 1
    assert cache.entries() == []


def test_models_with_other_connectors_share_pixels_and_count_their_own_tokens(
    tmp_path: Path, tiny: MedMVLProcessor
) -> None:
    other = processor(image_connector={"type": "spatial_pooling", "factors": [1, 2, 2]})
    picture(tmp_path / "a.png")
    block = ImageBlock(image="a.png")
    cache = PreparedCache(tmp_path / "cache")
    first = cache.wrap(BlockLoader(tmp_path), tiny)(block)
    second = cache.wrap(BlockLoader(tmp_path), other)(block)
    assert len(cache.entries()) == 1
    assert torch.equal(first.pixels, second.pixels)
    assert (
        second.num_tokens
        == other.process_visual(BlockLoader(tmp_path)(block)).num_tokens
        == first.num_tokens // 4
    )


def test_many_writes_count_the_folder_once(
    tmp_path: Path, tiny: MedMVLProcessor, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = PreparedCache(tmp_path / "cache")
    counted: list[int] = []
    count = cache.num_bytes
    monkeypatch.setattr(cache, "num_bytes", lambda: counted.append(1) or count())
    load = cache.wrap(BlockLoader(tmp_path), tiny)
    for number in range(20):
        picture(tmp_path / f"{number}.png", number)
        load(ImageBlock(image=f"{number}.png"))
    assert len(counted) == 1 and cache._total == count()

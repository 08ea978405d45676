"""A scan is read once while it does not change, by however many askers; nothing crosses from one owner to another."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

import medmvl
from medmvl.datasets.loader import BlockLoader
from medmvl.engine.scan_cache import ScanCache
from medmvl.errors import ReadError
from medmvl.imaging import MedicalImage
from medmvl.schema import VolumeBlock
from tests.factories.engine import save_tiny_model, tiny_engine

BLOCK = VolumeBlock(volume="v.npz")


def write(path: Path, value: float) -> None:
    np.savez(path, array=np.full((4, 16, 16), value, np.float32), units="HU")


@pytest.fixture
def counted(tmp_path: Path) -> tuple[ScanCache, BlockLoader, list[MedicalImage]]:
    write(tmp_path / "v.npz", 0.0)
    seen: list[MedicalImage] = []

    def see(image: MedicalImage) -> Any:
        seen.append(image)
        return tiny_engine().processor.process_visual(image)

    return ScanCache(see), BlockLoader(tmp_path), seen


def test_a_scan_is_read_again_only_after_it_changed(
    counted: tuple[ScanCache, BlockLoader, list[MedicalImage]], tmp_path: Path
) -> None:
    scans, loader, seen = counted
    load = scans.wrap(loader)
    assert load(BLOCK) is load(BLOCK) and len(seen) == 1
    write(tmp_path / "v.npz", 50.0)
    os.utime(tmp_path / "v.npz", ns=(1, 1))
    assert not np.array_equal(load(BLOCK).pixels, seen[0].array) and len(seen) == 2


def test_owners_share_nothing(counted: tuple[ScanCache, BlockLoader, list[MedicalImage]]) -> None:
    scans, loader, seen = counted
    assert scans.wrap(loader, "a")(BLOCK) is not scans.wrap(loader, "b")(BLOCK)
    assert len(seen) == 2


def test_many_askers_read_once(counted: tuple[ScanCache, BlockLoader, list[MedicalImage]]) -> None:
    scans, loader, seen = counted
    together = Barrier(4)

    def ask(_: int) -> Any:
        together.wait()
        return scans.wrap(loader)(BLOCK)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert len(seen) == 1 and all(visual is found[0] for visual in found)


def test_memory_is_bounded_and_an_error_is_not_remembered(
    counted: tuple[ScanCache, BlockLoader, list[MedicalImage]], tmp_path: Path
) -> None:
    scans, loader, _ = counted
    load = scans.wrap(loader)
    scans = ScanCache(tiny_engine().processor.process_visual, max_bytes=load(BLOCK).nbytes)
    load = scans.wrap(loader)
    write(tmp_path / "w.npz", 9.0)
    load(VolumeBlock(volume="w.npz"))
    assert len(scans) == 1 and scans.num_bytes <= scans.max_bytes
    (tmp_path / "v.npz").unlink()
    with pytest.raises(ReadError):
        load(BLOCK)
    write(tmp_path / "v.npz", 1.0)
    assert load(BLOCK).kind == "volume"


def test_three_lines_of_python(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    write(tmp_path / "v.npz", 40.0)
    model = medmvl.load(folder)
    answer = model.ask("Is there a nodule?", volumes=[tmp_path / "v.npz"], max_new_tokens=4)
    assert answer.tokens and 0 < answer.probability <= 1
    assert answer.seen[0]["shape"] == [4, 16, 16] and str(tmp_path) not in str(answer.to_json())
    chosen = model.ask("Nodule?", volumes=[tmp_path / "v.npz"], choices=("yes", "no"))
    assert chosen.text in ("yes", "no") and len(model.scans) == 1

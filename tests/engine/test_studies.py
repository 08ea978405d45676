"""A scan is read once while it does not change, by however many askers; nothing crosses from one owner to another."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

import medmvl
from medmvl.data.loader import BlockLoader
from medmvl.engine.studies import Studies
from medmvl.errors import ReadError
from medmvl.imaging import MedicalImage
from medmvl.schema import VolumeBlock
from tests.factories.engine import save_tiny_model, tiny_engine

BLOCK = VolumeBlock(volume="v.npz")


def write(path: Path, value: float) -> None:
    np.savez(path, array=np.full((4, 16, 16), value, np.float32), units="HU")


@pytest.fixture
def counted(tmp_path: Path) -> tuple[Studies, BlockLoader, list[MedicalImage]]:
    write(tmp_path / "v.npz", 0.0)
    seen: list[MedicalImage] = []

    def see(image: MedicalImage) -> Any:
        seen.append(image)
        return tiny_engine().processor.see(image)

    return Studies(see), BlockLoader(tmp_path), seen


def test_a_scan_is_read_again_only_after_it_changed(
    counted: tuple[Studies, BlockLoader, list[MedicalImage]], tmp_path: Path
) -> None:
    studies, loader, seen = counted
    load = studies.wrap(loader)
    assert load(BLOCK) is load(BLOCK) and len(seen) == 1
    write(tmp_path / "v.npz", 50.0)
    os.utime(tmp_path / "v.npz", ns=(1, 1))
    assert not np.array_equal(load(BLOCK).pixels, seen[0].array) and len(seen) == 2


def test_owners_share_nothing(counted: tuple[Studies, BlockLoader, list[MedicalImage]]) -> None:
    studies, loader, seen = counted
    assert studies.wrap(loader, "a")(BLOCK) is not studies.wrap(loader, "b")(BLOCK)
    assert len(seen) == 2


def test_many_askers_read_once(counted: tuple[Studies, BlockLoader, list[MedicalImage]]) -> None:
    studies, loader, seen = counted
    together = Barrier(4)

    def ask(_: int) -> Any:
        together.wait()
        return studies.wrap(loader)(BLOCK)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(ask, range(4)))
    assert len(seen) == 1 and all(visual is found[0] for visual in found)


def test_memory_is_bounded_and_an_error_is_not_remembered(
    counted: tuple[Studies, BlockLoader, list[MedicalImage]], tmp_path: Path
) -> None:
    studies, loader, _ = counted
    load = studies.wrap(loader)
    studies.max_bytes = load(BLOCK).nbytes
    write(tmp_path / "w.npz", 9.0)
    load(VolumeBlock(volume="w.npz"))
    assert len(studies) == 1 and studies.num_bytes <= studies.max_bytes
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
    assert chosen.text in ("yes", "no") and len(model.studies) == 1

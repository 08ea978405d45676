"""What a compressed file may become is bounded before memory is taken, in every format that compresses."""

from __future__ import annotations

import bz2
import gzip
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from medmvl.errors import ReadError
from medmvl.imaging import limits, read

SIDE = 160


def _nifti(path: Path, array: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(array, np.eye(4)), path.with_suffix(".nii.gz"))
    return path.with_suffix(".nii.gz")


def _nrrd(encoding: str, pack: Callable[[bytes], bytes]) -> Callable[[Path, np.ndarray], Path]:
    def write(path: Path, array: np.ndarray) -> Path:
        head = f"NRRD0004\ntype: uint8\ndimension: 3\nsizes: {SIDE} {SIDE} {SIDE}\nencoding: {encoding}\n\n"
        path.write_bytes(head.encode() + pack(array.tobytes()))
        return path

    return write


def _metaimage(path: Path, array: np.ndarray) -> Path:
    head = f"ObjectType = Image\nNDims = 3\nDimSize = {SIDE} {SIDE} {SIDE}\nElementType = MET_UCHAR\nCompressedData = True\n"
    path.write_bytes(f"{head}ElementDataFile = LOCAL\n".encode() + zlib.compress(array.tobytes(), 9))
    return path


def _numpy(path: Path, array: np.ndarray) -> Path:
    np.savez_compressed(path.with_suffix(".npz"), array=array)
    return path.with_suffix(".npz")


def _png(path: Path, array: np.ndarray) -> Path:
    Image.fromarray(array.reshape(-1, SIDE * 4)).save(path, "PNG")
    return path


WRITERS: dict[str, Callable[[Path, np.ndarray], Path]] = {
    "nifti": _nifti, "nrrd-gzip": _nrrd("gzip", gzip.compress), "nrrd-bzip2": _nrrd("bzip2", bz2.compress),
    "metaimage": _metaimage, "numpy": _numpy, "png": _png,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_expansion_out_of_proportion_is_refused_before_memory_is_taken(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FREE_BYTES", 10**6)
    path = WRITERS[name](tmp_path / "bomb", np.zeros((SIDE, SIDE, SIDE), np.uint8))
    tracemalloc.start()
    with pytest.raises(ReadError, match="refused before memory is taken"):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6
    noisy = np.random.default_rng(0).integers(0, 200, (SIDE, SIDE, SIDE)).astype(np.uint8)
    assert read(WRITERS[name](tmp_path / "scan", noisy)).array.size == SIDE**3


def test_an_empty_mask_of_ordinary_size_is_read(tmp_path: Path) -> None:
    path = _nifti(tmp_path / "mask", np.zeros((SIDE, SIDE, SIDE), np.uint8))
    assert path.stat().st_size * limits.MAX_EXPANSION < SIDE**3
    assert not read(path).array.any()

"""Every file that reading a path opens is known: what a changed scan is recognised by, in the cache and in the engine."""

import bz2
import gzip
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from medmvl.datasets.loader import BlockLoader
from medmvl.imaging import read
from medmvl.imaging.partners import files_of
from medmvl.schema import VolumeBlock

ARRAY = np.arange(4 * 3 * 2, dtype="<i2").reshape(4, 3, 2)
META = "ObjectType = Image\nNDims = 3\nDimSize = 2 3 4\nElementType = MET_SHORT\nElementSpacing = 1 1 2\n"
NRRD = "NRRD0004\ntype: short\ndimension: 3\nsizes: 2 3 4\nendian: little\nspacings: 1 1 2\n"


def header(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def mhd(folder: Path, pixels: str = "scan.raw") -> Path:
    (folder / pixels).write_bytes(ARRAY.tobytes())
    return header(folder, "scan.mhd", f"{META}ElementDataFile = {pixels}\n")


def mhd_of_another_name(folder: Path) -> Path:
    return mhd(folder, "pixels of the scan.bin")


def mhd_called_otherwise(folder: Path) -> Path:
    return mhd(folder).rename(folder / "header.txt")


def named_by_its_pixels(folder: Path) -> Path:
    return mhd(folder).with_suffix(".raw")


def nhdr(folder: Path) -> Path:
    (folder / "other.raw").write_bytes(ARRAY.tobytes())
    return header(folder, "scan.nhdr", f"{NRRD}encoding: raw\ndata file: other.raw\n\n")


def nhdr_gzip(folder: Path) -> Path:
    (folder / "scan.raw.gz").write_bytes(gzip.compress(ARRAY.tobytes()))
    return header(folder, "scan.nhdr", f"{NRRD}encoding: gzip\ndatafile: scan.raw.gz\n\n")


def nhdr_named_by_its_pixels(folder: Path) -> Path:
    return nhdr_gzip(folder).with_name("scan.raw.gz")


def nhdr_bzip2(folder: Path) -> Path:
    (folder / "scan.bz2").write_bytes(bz2.compress(ARRAY.tobytes()))
    return header(folder, "scan.nhdr", f"{NRRD}encoding: bzip2\ndata file: ./scan.bz2\n\n")


def pair(folder: Path) -> Path:
    nib.save(nib.Nifti1Pair(ARRAY, np.eye(4)), folder / "scan.hdr")
    return folder / "scan.hdr"


def pair_named_by_its_pixels(folder: Path) -> Path:
    return pair(folder).with_suffix(".img")


def pair_gzip(folder: Path) -> Path:
    nib.save(nib.Nifti1Pair(ARRAY, np.eye(4)), folder / "scan.hdr.gz")
    return folder / "scan.hdr.gz"


def pair_gzip_named_by_its_pixels(folder: Path) -> Path:
    return pair_gzip(folder).with_name("scan.img.gz")


def slices(folder: Path) -> list[str]:
    names = [f"slice{number}.raw" for number in range(4)]
    for name, pixels in zip(names, ARRAY, strict=True):
        (folder / name).write_bytes(pixels.tobytes())
    return names


def mhd_list(folder: Path) -> Path:
    return header(folder, "scan.mhd", f"{META}ElementDataFile = LIST\n" + "\n".join(slices(folder)) + "\n")


def mhd_pattern(folder: Path) -> Path:
    slices(folder)
    return header(folder, "scan.mhd", f"{META}ElementDataFile = slice%d.raw 0 3 1\n")


def nhdr_list(folder: Path) -> Path:
    names = "\n".join(slices(folder))
    return header(folder, "scan.nhdr", f"{NRRD}encoding: raw\ndata file: LIST\n{names}\n")


def nhdr_pattern(folder: Path) -> Path:
    slices(folder)
    return header(folder, "scan.nhdr", f"{NRRD}encoding: raw\ndata file: slice%d.raw 0 3 1\n\n")


def analyze(folder: Path) -> Path:
    nib.save(nib.Spm99AnalyzeImage(ARRAY, np.eye(4)), folder / "scan.img")
    (folder / "scan.mat").unlink(missing_ok=True)
    return folder / "scan.img"


def single(folder: Path) -> Path:
    nib.save(nib.Nifti1Image(ARRAY, np.eye(4)), folder / "scan.nii.gz")
    return folder / "scan.nii.gz"


def array(folder: Path) -> Path:
    np.save(folder / "scan.npy", ARRAY)
    return folder / "scan.npy"


LAYOUTS: list[Callable[[Path], Path]] = [
    mhd, mhd_of_another_name, mhd_called_otherwise, named_by_its_pixels, nhdr, nhdr_gzip, nhdr_named_by_its_pixels,
    nhdr_bzip2, mhd_list, mhd_pattern, nhdr_list, nhdr_pattern,
    analyze, pair, pair_named_by_its_pixels, pair_gzip, pair_gzip_named_by_its_pixels, single, array,
]  # fmt: skip

_opened: list[str] | None = None


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _opened is not None and isinstance(arguments[0], str | os.PathLike):
        _opened.append(os.fspath(arguments[0]))  # type: ignore[arg-type]


sys.addaudithook(_watch)


@contextmanager
def files_opened(folder: Path) -> Iterator[set[Path]]:
    """Files below a folder that the block opens."""
    global _opened
    _opened, found = [], set[Path]()
    try:
        yield found
    finally:
        found.update(
            path.resolve() for path in map(Path, _opened) if folder in path.parents and path.is_file()
        )
        _opened = None


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_files_of_are_the_files_that_reading_opens(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    path = layout(tmp_path)
    with files_opened(tmp_path) as opened:
        assert read(path).shape == ARRAY.shape or read(path).shape == ARRAY.T.shape
    assert opened and {file.resolve() for file in files_of(path)} == opened | {path.resolve()}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_a_change_of_any_file_changes_the_signature(layout: Callable[[Path], Path], tmp_path: Path) -> None:
    path = layout(tmp_path)
    loader, block = BlockLoader(tmp_path), VolumeBlock(volume=path.name)
    (tmp_path / "scan.txt").write_text("a note that no reader opens")
    for file in files_of(path):
        before = loader.signature(block)
        assert loader.signature(block) == before
        stat = file.stat()
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))
        assert loader.signature(block) != before, file.name
    before = loader.signature(block)
    (tmp_path / "scan.txt").write_text("another note")
    assert loader.signature(block) == before


def test_what_is_missing_damaged_or_outside_is_no_partner(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "secret.raw").write_bytes(b"0")
    outside = header(tmp_path / "inner", "a.mhd", f"{META}ElementDataFile = ../secret.raw\n")
    missing = header(tmp_path, "b.mhd", f"{META}ElementDataFile = missing.raw\n")
    damaged = header(tmp_path, "c.mhd", "ObjectType = Image\n")
    endless = header(tmp_path, "d.mhd", f"{META}ElementDataFile = s%d.raw 0 999999999 1\n")
    for path in (outside, missing, damaged, endless, tmp_path / "not there.nhdr"):
        assert files_of(path) == (path,)


def test_pixels_that_come_after_their_header_are_known(tmp_path: Path) -> None:
    loader, block = BlockLoader(tmp_path), VolumeBlock(volume="scan.mhd")
    path = header(tmp_path, "scan.mhd", f"{META}ElementDataFile = scan.raw\n")
    assert files_of(path) == (path,)  # while it is copied
    before = loader.signature(block)
    (tmp_path / "scan.raw").write_bytes(ARRAY.tobytes())
    assert files_of(path) == (path, tmp_path / "scan.raw")
    assert loader.signature(block) != before


def test_files_of_a_folder_are_all_below_it(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("a/1", "2"):
        (tmp_path / name).write_bytes(b"x")
    assert {file.name for file in files_of(tmp_path)} == {"1", "2"}

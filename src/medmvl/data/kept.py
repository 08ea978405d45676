"""What lies in the cache folder, by part: counted and cleared."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from medmvl.data.entry_cache import default_cache_dir
from medmvl.data.feature_cache import FeatureCache
from medmvl.data.prepared import PreparedCache


@dataclass(frozen=True)
class Kept:
    """All that is kept in one part."""

    part: str
    """`pixels`, `features` or `phantoms`."""
    what: str
    """Name of the entries."""
    count: int
    num_bytes: int
    folder: Path
    is_patient_data: bool
    clear: Callable[[], int]
    """Removes them, and returns how many there were."""


def kept_parts() -> Iterator[Kept]:
    """Every part of the cache folder, also those that are empty."""
    folder = default_cache_dir()
    for part, cache, what in (
        ("pixels", PreparedCache(folder), "scans"),
        ("features", FeatureCache(folder), "views of scans"),
    ):
        yield Kept(part, what, len(cache.entries()), cache.num_bytes(), cache.folder, True, cache.clear)
    old = folder / "scans"
    if old.is_dir():
        yield _folder("pixels", "scans of an older version", list(old.glob("*.npz")), old)
    phantoms = folder / "phantoms"
    yield _folder("phantoms", "data sets", [path for path in phantoms.glob("*") if path.is_dir()], phantoms)


def _folder(part: str, what: str, entries: list[Path], folder: Path) -> Kept:
    def clear() -> int:
        shutil.rmtree(folder, ignore_errors=True)
        return len(entries)

    files = [file for file in folder.rglob("*") if file.is_file()]
    return Kept(
        part, what, len(entries), sum(f.stat().st_size for f in files), folder, part != "phantoms", clear
    )

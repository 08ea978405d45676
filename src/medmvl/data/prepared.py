"""Decoded scans on disk, so that a compressed CT or a folder of slices is decoded once, not once an epoch.

This is patient data: the folder has mode 0700, its size is limited, the least recently used scans go first,
and `medmvl data cache --clear` empties it. A key holds no path or name: it is a digest of the file's place,
size and time, of what was declared about it, and of the reader's code.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import medmvl.imaging
from medmvl.data.loader import PHANTOM_SCHEME, BlockLoader
from medmvl.files import atomic_write
from medmvl.imaging import MedicalImage
from medmvl.imaging.selector import split_selector
from medmvl.schema import ImageBlock, VolumeBlock

DEFAULT_LIMIT = 50 << 30
"""Bytes."""
FOLDER_VARIABLE = "MEDMVL_CACHE"
_TUPLES = ("axcodes", "acquired_axcodes", "spacing_mm", "slice_positions_mm", "warnings")


def default_cache_dir() -> Path:
    """`$MEDMVL_CACHE`, or `~/.cache/medmvl`."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "medmvl"


class PreparedCache:
    """Decoded scans under `folder/scans`, at most `limit` bytes of them. Several processes may share it.

    Raises:
        OSError: where the folder cannot be made.
    """

    def __init__(self, folder: Path, limit: int = DEFAULT_LIMIT) -> None:
        self.folder = folder / "scans"
        self.limit = limit
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)

    def wrap(self, load: BlockLoader) -> Callable[[ImageBlock | VolumeBlock], MedicalImage]:
        """Return a `load` that looks here first."""

        def cached(block: ImageBlock | VolumeBlock) -> MedicalImage:
            if block.path.startswith(PHANTOM_SCHEME):
                return load(block)
            file = self.folder / f"{cache_key(load, block)}.npz"
            found = _read_entry(file)
            if found is not None and found.kind == block.type:
                return found
            image = load(block)
            self._write_entry(file, image)
            return image

        return cached

    def entries(self) -> list[Path]:
        """The stored scans, least recently used first."""
        found = [(file.stat().st_mtime_ns, file) for file in self.folder.glob("*.npz")]
        return [file for _, file in sorted(found)]

    def num_bytes(self) -> int:
        """Size of all stored scans."""
        return sum(file.stat().st_size for file in self.entries())

    def clear(self) -> int:
        """Remove every stored scan and return how many there were."""
        files = [*self.entries(), *self.folder.glob(".*.npz.*")]
        for file in files:
            file.unlink(missing_ok=True)
        return len(files)

    def _write_entry(self, file: Path, image: MedicalImage) -> None:
        if image.array.nbytes > self.limit:
            return
        with atomic_write(file) as out:
            np.savez(out, array=_compact(image.array), facts=np.array(_facts_to_json(image)))
        file.chmod(0o600)
        total = self.num_bytes()
        for old in self.entries():
            if total <= self.limit or old == file:
                break
            total -= old.stat().st_size
            old.unlink(missing_ok=True)


def cache_key(load: BlockLoader, block: ImageBlock | VolumeBlock) -> str:
    """Digest of everything that decides what `load(block)` gives."""
    reference = load.reference(block)
    path, _ = split_selector(reference)
    files = sorted(path.rglob("*")) if path.is_dir() else sorted({path, *path.parent.glob(f"{path.stem}.*")})
    stats = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]
    key = [str(Path(reference).absolute()), block.type, stats, load.declarations(block), _reader_digest()]
    return hashlib.sha256(json.dumps(key, default=str, sort_keys=True).encode()).hexdigest()


@cache
def _reader_digest() -> str:
    folder = Path(medmvl.imaging.__file__).parent
    return hashlib.sha256(b"".join(file.read_bytes() for file in sorted(folder.glob("*.py")))).hexdigest()


def _compact(array: NDArray[Any]) -> NDArray[Any]:
    """Store whole Hounsfield units in two bytes where that loses nothing."""
    if array.dtype != np.float32 or not np.isfinite(array).all() or np.abs(array).max(initial=0) > 32767:
        return array
    small = array.astype(np.int16)
    return small if np.array_equal(small, array) else array


def _facts_to_json(image: MedicalImage) -> str:
    facts = {field.name: getattr(image, field.name) for field in fields(image) if field.name != "array"}
    affine = None if image.affine is None else image.affine.tolist()
    return json.dumps({**facts, "affine": affine, "dtype": image.array.dtype.str})


def _read_entry(file: Path) -> MedicalImage | None:
    if not file.is_file():
        return None
    try:
        with np.load(file, allow_pickle=False) as stored:
            array, facts = stored["array"], json.loads(str(stored["facts"]))
    except (OSError, ValueError, KeyError):
        return None  # another process may be removing it, or a disk has damaged it: it is read anew
    os.utime(file)
    array = array.astype(facts.pop("dtype"), copy=False)
    tuples = {name: tuple(facts[name]) for name in _TUPLES if facts[name] is not None}
    affine = None if facts["affine"] is None else np.array(facts["affine"], dtype=np.float64)
    return MedicalImage(array=array, **{**facts, **tuples, "affine": affine})

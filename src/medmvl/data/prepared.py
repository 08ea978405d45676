"""Processed pixels on disk, so that a CT is decoded and resampled once, not once an epoch.

This is patient data: the folder has mode 0700, its size is limited, the least recently used scans go first, and
`medmvl data cache --clear` empties it. A key holds no path or name: it is a digest of the file's place, size
and time, of what was declared about it, of the processor's settings, and the version of the pixels. Encoder
and connector are not in it: models that differ in those alone share the pixels, and each counts its own tokens.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from medmvl.atomic_files import PARTIAL, atomic_write, sweep
from medmvl.data.memory import Load
from medmvl.datasets.loader import PHANTOM_SCHEME, BlockLoader, states_of
from medmvl.imaging.selector import split_selector
from medmvl.models.visual_preprocessor import VisualPreprocessor
from medmvl.models.visuals import ProcessedVisual
from medmvl.schema import ImageBlock, VolumeBlock

if TYPE_CHECKING:
    from medmvl.models.processing import MedMVLProcessor

logger = logging.getLogger(__name__)
DEFAULT_LIMIT = 50 << 30
"""Bytes."""
PIXELS_VERSION = 2
"""Raised when reading or processing makes other pixels of the same file and settings; the test of this module holds the values
of every version, so that such a change is noticed."""
FOLDER_VARIABLE = "MEDMVL_CACHE"
COUNT_EVERY = 512
"""Writes after which all entries are counted anew, as other processes write, too; each time would take longer than
the scans."""


def default_cache_dir() -> Path:
    """`$MEDMVL_CACHE`, or `~/.cache/medmvl`."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else Path.home() / ".cache" / "medmvl"


class PreparedCache:
    """Processed scans under `folder/scans`, at most `limit` bytes of them. Several processes may share it.

    A folder that cannot be made or written to is told once, and read from where it can be.
    """

    def __init__(self, folder: Path, limit: int = DEFAULT_LIMIT) -> None:
        self.folder = folder / "scans"
        self.limit = limit
        self._total = 0
        self._writes = 0
        self._is_off = False
        try:
            self.folder.mkdir(0o700, parents=True, exist_ok=True)
            if self.folder.stat().st_mode & 0o077:
                self.folder.chmod(0o700)
            sweep(self.folder)
        except OSError as error:
            self._give_up(error)

    def wrap(self, load: BlockLoader, processor: MedMVLProcessor) -> Load:
        """Return a `load` that gives what `processor.process_visual` made of a file before, or makes and keeps it."""
        settings = settings_digest(processor)

        def cached(block: ImageBlock | VolumeBlock) -> ProcessedVisual:
            if block.path.startswith(PHANTOM_SCHEME):
                return process_block(processor, load, block)
            file = self.folder / f"{cache_key(load, block, settings)}.npz"
            found = _read_entry(file, processor.visual_preprocessor)
            if found is None:
                found = process_block(processor, load, block)
                self._keep(file, found)
            return found

        return cached

    def entries(self) -> list[Path]:
        """The stored scans, least recently used first."""
        found = []
        for file in self.folder.glob("*.npz"):
            try:
                found.append((file.stat().st_mtime_ns, file))
            except FileNotFoundError:
                continue  # another process made room
        return [file for _, file in sorted(found)]

    def num_bytes(self) -> int:
        """Size of all stored scans."""
        return sum(_size(file) for file in self.entries())

    def clear(self) -> int:
        """Remove every stored scan, and what a killed process left half written; return how many there were."""
        files = [*self.entries(), *self.folder.glob(f".*{PARTIAL}")]
        for file in files:
            file.unlink(missing_ok=True)
        return len(files)

    def _keep(self, file: Path, visual: ProcessedVisual) -> None:
        """Store a scan; a cache that cannot be written to is read on, and written to no more."""
        if self._is_off:
            return
        try:
            self._write_entry(file, visual)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._is_off = True
        worker = torch.utils.data.get_worker_info()
        if worker is None or worker.id == 0:
            logger.warning(
                "the cache of prepared scans in %s takes no more scans (%s): they are prepared each time they are read",
                self.folder,
                error.strerror,
            )

    def _write_entry(self, file: Path, visual: ProcessedVisual) -> None:
        if visual.nbytes > self.limit:
            return
        arrays: dict[str, Any] = {}
        facts = []
        for number, view in enumerate(visual.views):
            arrays |= {f"{name}.{number}": array for name, array in _arrays_of(view).items()}
            facts.append(_facts_of(view))
        with atomic_write(file, mode=0o600) as out:
            np.savez(out, **arrays, facts=json.dumps(facts))
        if self._writes % COUNT_EVERY == 0:
            self._total = self.num_bytes()
        else:
            self._total += _size(file)
        self._writes += 1
        if self._total > self.limit:
            self._make_room(file)

    def _make_room(self, newest: Path) -> None:
        self._total = self.num_bytes()
        for old in self.entries():
            if self._total <= self.limit or old == newest:
                break
            self._total -= _size(old)
            old.unlink(missing_ok=True)


def process_block(
    processor: MedMVLProcessor, load: BlockLoader, block: ImageBlock | VolumeBlock
) -> ProcessedVisual:
    """Read a block's file and process it."""
    visual: ProcessedVisual = processor.process_visual(load(block))
    return visual


def cache_key(load: BlockLoader, block: ImageBlock | VolumeBlock, settings: str) -> str:
    """Digest of everything that decides what a block looks like to the model."""
    reference = load.reference(block)
    key = [
        str(Path(reference).absolute()),
        block.type,
        states_of(split_selector(reference)[0]),
        load.declarations(block),
        settings,
        PIXELS_VERSION,
    ]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def settings_digest(processor: MedMVLProcessor) -> str:
    """Digest of the settings that decide pixels."""
    shown = [None if part is None else part.model_dump(mode="json") for part in _settings(processor)]
    return hashlib.sha256(json.dumps(shown, sort_keys=True, default=str).encode()).hexdigest()


def _settings(processor: MedMVLProcessor) -> tuple[Any, Any]:
    return processor.image_processor, processor.volume_processor


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


def _arrays_of(view: ProcessedVisual) -> dict[str, Any]:
    positions = np.empty(0) if view.positions_mm is None else view.positions_mm.numpy()
    return {"pixels": view.pixels.numpy(), "matrices": view.matrices, "positions": positions}


def _facts_of(view: ProcessedVisual) -> dict[str, Any]:
    return {"kind": view.kind, "notes": view.notes, "warnings": view.warnings, "source": view.source}


def _read_entry(file: Path, preprocessor: VisualPreprocessor) -> ProcessedVisual | None:
    try:
        with np.load(file, allow_pickle=False) as stored:
            facts = json.loads(str(stored["facts"]))
            whole, *crops = [
                _view_of(
                    preprocessor,
                    fact,
                    *(stored[f"{name}.{number}"] for name in ("pixels", "matrices", "positions")),
                )
                for number, fact in enumerate(facts)
            ]
        with suppress(OSError):  # a cache that can only be read
            os.utime(file)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None  # not there, being removed by another process, or damaged: it is made anew
    return replace(whole, crops=tuple(crops)) if crops else whole


def _view_of(
    preprocessor: VisualPreprocessor,
    facts: dict[str, Any],
    pixels: NDArray[Any],
    matrices: NDArray[Any],
    positions: NDArray[Any],
) -> ProcessedVisual:
    return preprocessor.visual_of(
        facts["kind"],
        torch.from_numpy(pixels),
        matrices[0],
        tuple(facts["notes"]),
        facts["source"],
        warnings=tuple(facts["warnings"]),
        tile_matrices=matrices if len(matrices) > 1 else None,
        positions_mm=torch.from_numpy(positions) if len(positions) else None,
    )

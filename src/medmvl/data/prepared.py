"""Processed pixels on disk, so that a CT is decoded and resampled once, not once per epoch.

This is patient data, kept as `medmvl.data.entry_cache` says; `medmvl data cache --clear` empties it. A key holds no path or
name: it is a digest of the file's place, size and times, of what was declared about it, of the processor's settings, and the
version of the pixels. Encoder and connector are not in it: models that differ in those alone share the pixels, and each
counts its own tokens.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from medmvl.data.entry_cache import Entry, EntryCache, default_cache_dir
from medmvl.datasets.loader import PHANTOM_SCHEME, BlockLoader, states_of
from medmvl.imaging.selector import split_selector
from medmvl.json_types import JsonObject
from medmvl.models.image_processing import ImageProcessor
from medmvl.models.visual_preprocessor import VisualPreprocessor
from medmvl.models.visuals import ProcessedVisual, VisualLoader
from medmvl.models.volume_processing import VolumeProcessor
from medmvl.schema import ImageBlock, VolumeBlock

if TYPE_CHECKING:
    from medmvl.models.processing import MedMVLProcessor

__all__ = [
    "PIXELS_VERSION",
    "PreparedCache",
    "cache_key",
    "default_cache_dir",
    "process_block",
    "settings_digest",
]

PIXELS_VERSION = 2
"""Raised when reading or processing makes other pixels of the same file and settings; the test of this module holds the values
of every version, so that such a change is noticed."""


class PreparedCache(EntryCache):
    """Processed scans in `folder/pixels`."""

    def __init__(self, folder: Path, limit: int | None = None, *, strict: bool = False) -> None:
        super().__init__(folder / "pixels", limit, "prepared scans", strict=strict)

    def wrap(self, load: BlockLoader, processor: MedMVLProcessor) -> VisualLoader:
        """Return a `load` that gives what `processor.process_visual` made of a file before, or makes and keeps it."""
        settings = settings_digest(processor)

        def cached(block: ImageBlock | VolumeBlock) -> ProcessedVisual:
            if block.path.startswith(PHANTOM_SCHEME):
                return process_block(processor, load, block)
            key = cache_key(load, block, settings)
            found = self.find(key, processor.visual_preprocessor)
            if found is None:
                found = process_block(processor, load, block)
                self.keep(key, found)
            return found

        return cached

    def find(self, key: str, preprocessor: VisualPreprocessor) -> ProcessedVisual | None:
        """The scan under a key, its tokens counted by `preprocessor`; None where there is none."""
        entry = self.read(key)
        return None if entry is None else _visual_of(preprocessor, entry)

    def keep(self, key: str, visual: ProcessedVisual) -> None:
        """Keep a scan under a key."""
        self.write(key, *_entry_of(visual))


def process_block(
    processor: MedMVLProcessor, load: BlockLoader, block: ImageBlock | VolumeBlock
) -> ProcessedVisual:
    """Read a block's file and process it."""
    visual: ProcessedVisual = processor.process_visual(load(block))
    return visual


def cache_key(load: BlockLoader, block: ImageBlock | VolumeBlock, settings: str) -> str:
    """Digest of everything that decides what a block looks like to the model."""
    reference = load.reference(block)
    is_phantom = reference.startswith(PHANTOM_SCHEME)
    key = [
        reference if is_phantom else str(Path(reference).absolute()),
        block.type,
        _phantom_version() if is_phantom else states_of(split_selector(reference)[0]),
        load.declarations(block),
        settings,
        PIXELS_VERSION,
    ]
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


def settings_digest(processor: MedMVLProcessor) -> str:
    """Digest of the settings that decide pixels."""
    shown = [None if part is None else part.model_dump(mode="json") for part in _settings(processor)]
    return hashlib.sha256(json.dumps(shown, sort_keys=True, default=str).encode()).hexdigest()


def _settings(processor: MedMVLProcessor) -> tuple[ImageProcessor | None, VolumeProcessor | None]:
    return processor.image_processor, processor.volume_processor


@lru_cache
def _phantom_version() -> str:
    from medmvl.phantoms.source import code_digest

    return code_digest()


def view_tensors(view: ProcessedVisual) -> dict[str, Tensor]:
    """What is kept of a view as tensors, besides pixels or features."""
    positions = {} if view.positions_mm is None else {"slice_positions": view.positions_mm}
    return {"matrices": torch.from_numpy(view.matrices), **positions}


def view_facts(view: ProcessedVisual) -> JsonObject:
    """What is kept of a view as plain values."""
    return {"kind": view.kind, "notes": view.notes, "warnings": view.warnings, "source": view.source}


def view_of(
    preprocessor: VisualPreprocessor,
    facts: JsonObject,
    tensors: dict[str, Tensor],
    pixels: Tensor,
    **more: Any,
) -> ProcessedVisual:
    """The view that `view_tensors` and `view_facts` describe, with the tokens that this preprocessor counts."""
    matrices = tensors["matrices"].numpy()
    return preprocessor.visual_of(
        facts["kind"],
        pixels,
        matrices[0],
        tuple(facts["notes"]),
        facts["source"],
        warnings=tuple(facts["warnings"]),
        tile_matrices=matrices if len(matrices) > 1 else None,
        positions_mm=tensors.get("slice_positions"),
        **more,
    )


def _entry_of(visual: ProcessedVisual) -> Entry:
    tensors: dict[str, Tensor] = {}
    for number, view in enumerate(visual.views):
        own = {"pixels": view.pixels, **view_tensors(view)}
        tensors |= {f"{number}.{name}": tensor for name, tensor in own.items()}
    return Entry(tensors, {"views": [view_facts(view) for view in visual.views]})


def _visual_of(preprocessor: VisualPreprocessor, entry: Entry) -> ProcessedVisual:
    views = []
    for number, facts in enumerate(entry.facts["views"]):
        start = f"{number}."
        own = {name.removeprefix(start): t for name, t in entry.tensors.items() if name.startswith(start)}
        views.append(view_of(preprocessor, facts, own, own["pixels"]))
    whole, *crops = views
    return replace(whole, crops=tuple(crops)) if crops else whole

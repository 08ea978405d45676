"""What the model sees of the last scans, kept in memory: questions about one scan read and resample it once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from medmvl.datasets.loader import BlockLoader
from medmvl.lru import BoundedLRU
from medmvl.models.visuals import ProcessedVisual, VisualLoader
from medmvl.schema import ImageBlock, VolumeBlock

Renewed = Callable[[ProcessedVisual], ProcessedVisual]


def _num_bytes(visual: ProcessedVisual) -> int:
    return visual.nbytes


class VisualMemory(BoundedLRU[tuple[Hashable, ...], ProcessedVisual]):
    """At most `limit` bytes of pixels; the least recently used go first. Empty in a new process."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit, _num_bytes)

    def wrap(self, loader: BlockLoader, load: VisualLoader, renewed: Renewed | None = None) -> VisualLoader:
        """Return a `load` that looks here first; `loader` says which file a block means.

        What is kept here may be renewed: features take the place of pixels once they are known.
        """

        def cached(block: ImageBlock | VolumeBlock) -> ProcessedVisual:
            key = (loader.reference(block), block.type, str(sorted(loader.declarations(block).items())))
            visual = self.get(key)
            if visual is None:
                visual = load(block)
                self.put(key, visual)
            elif renewed is not None and (newer := renewed(visual)) is not visual:
                visual = newer
                self.put(key, visual)
            return visual

        return cached

    def __reduce__(self) -> tuple[Any, ...]:
        return VisualMemory, (self.max_bytes,)

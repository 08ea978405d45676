"""What the model sees of the last scans, kept in memory: questions about one scan read and resample it once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from medmvl.datasets.loader import BlockLoader
from medmvl.models.visuals import ProcessedVisual
from medmvl.schema import ImageBlock, VolumeBlock

Load = Callable[[ImageBlock | VolumeBlock], ProcessedVisual]


class VisualMemory:
    """At most `limit` bytes of pixels; the least recently used go first. Empty in a new process."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.num_bytes = 0
        self._visuals: OrderedDict[tuple[Any, ...], ProcessedVisual] = OrderedDict()

    def wrap(self, loader: BlockLoader, load: Load) -> Load:
        """Return a `load` that looks here first; `loader` says which file a block means."""

        def cached(block: ImageBlock | VolumeBlock) -> ProcessedVisual:
            key = (loader.reference(block), block.type, str(sorted(loader.declarations(block).items())))
            if key in self._visuals:
                self._visuals.move_to_end(key)
                return self._visuals[key]
            visual = load(block)
            self._add(key, visual)
            return visual

        return cached

    def _add(self, key: tuple[Any, ...], visual: ProcessedVisual) -> None:
        if visual.nbytes > self.limit:
            return
        self._visuals[key] = visual
        self.num_bytes += visual.nbytes
        while self.num_bytes > self.limit:
            _, oldest = self._visuals.popitem(last=False)
            self.num_bytes -= oldest.nbytes

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit, "num_bytes": 0, "_visuals": OrderedDict()}

"""What the model sees of the last scans, kept in memory: a second question reads and resamples nothing again."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock

from medmvl.data.feature_cache import FeatureReader
from medmvl.datasets.loader import BlockLoader, ImageLoader
from medmvl.imaging import MedicalImage
from medmvl.lru import BoundedLRU
from medmvl.models.visuals import ProcessedVisual, VisualLoader
from medmvl.schema import VisualBlock

Key = tuple[Hashable, ...]


class ScanCache:
    """At most `max_bytes` of pixels; the least recently used go first. Threads that ask for one scan read it once."""

    def __init__(self, process: Callable[[MedicalImage], ProcessedVisual], max_bytes: int = 1024**3) -> None:
        self._process = process
        self._visuals: BoundedLRU[Key, ProcessedVisual] = BoundedLRU(max_bytes, lambda visual: visual.nbytes)
        self._reading: dict[Key, Future[ProcessedVisual]] = {}
        self._lock = Lock()

    @property
    def max_bytes(self) -> int:
        """Limit for all pixels together."""
        return self._visuals.max_bytes

    @property
    def num_bytes(self) -> int:
        """Bytes that are held."""
        return self._visuals.num_bytes

    def wrap(self, load: ImageLoader, owner: str = "", features: FeatureReader | None = None) -> VisualLoader:
        """What the model sees of the blocks that `load` reads, looked for here first.

        Args:
            load: reads a block. A `BlockLoader` says when a file has changed; for others, equal blocks are equal scans.
            owner: whose scans these are; nothing that another brought is found.
            features: looks on disk for what the encoder made of a file, before that is read; of scans without an owner alone.
        """
        fresh: VisualLoader = lambda block: self._process(load(block))  # noqa: E731
        if features is not None and not owner and isinstance(load, BlockLoader):
            fresh = features.wrap(load, fresh)

        def cached(block: VisualBlock) -> ProcessedVisual:
            where: Hashable = load.signature(block) if isinstance(load, BlockLoader) else load
            return self._get((owner, block, where), lambda: fresh(block))

        return cached

    def clear(self) -> None:
        """Forget everything."""
        self._visuals.clear()

    def __len__(self) -> int:
        return len(self._visuals)

    def _get(self, key: Key, make: Callable[[], ProcessedVisual]) -> ProcessedVisual:
        with self._lock:
            known = self._visuals.get(key)
            if known is not None:
                return known
            other = self._reading.get(key)
            if other is None:
                own: Future[ProcessedVisual] = Future()
                self._reading[key] = own
        if other is not None:
            return other.result()
        try:
            visual = make()
        except BaseException as error:
            self._done(key)
            own.set_exception(error)
            raise
        self._visuals.put(key, visual)
        self._done(key)
        own.set_result(visual)
        return visual

    def _done(self, key: Key) -> None:
        with self._lock:
            del self._reading[key]

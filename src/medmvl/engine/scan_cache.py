"""What the model sees of the last scans, kept in memory: a second question reads and resamples nothing again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock
from typing import Any

from medmvl.datasets.loader import BlockLoader
from medmvl.engine.request import Load, VisualBlock
from medmvl.imaging import MedicalImage
from medmvl.models.visuals import ProcessedVisual

Key = tuple[Any, ...]


class ScanCache:
    """At most `max_bytes` of pixels; the least recently used go first. Threads that ask for one scan read it once."""

    def __init__(self, process: Callable[[MedicalImage], ProcessedVisual], max_bytes: int = 1024**3) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._process = process
        self._visuals: OrderedDict[Key, ProcessedVisual] = OrderedDict()
        self._reading: dict[Key, Future[ProcessedVisual]] = {}
        self._lock = Lock()

    def wrap(self, load: Load, owner: str = "") -> Load:
        """A `load` that looks here first.

        Args:
            load: reads a block. A `BlockLoader` says when a file has changed; of others, equal blocks are equal scans.
            owner: whose scans these are; nothing that another brought is found.
        """

        def seen(block: VisualBlock) -> ProcessedVisual:
            where = load.signature(block) if isinstance(load, BlockLoader) else id(load)
            return self._get((owner, block, where), lambda: load(block))

        seen.wrapped = load  # type: ignore[attr-defined]  # its id stays taken as long as this is used
        return seen

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._visuals.clear()
            self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._visuals)

    def _get(self, key: Key, load: Callable[[], Any]) -> ProcessedVisual:
        with self._lock:
            if key in self._visuals:
                self._visuals.move_to_end(key)
                return self._visuals[key]
            other = self._reading.get(key)
            if other is None:
                own: Future[ProcessedVisual] = Future()
                self._reading[key] = own
        if other is not None:
            return other.result()
        try:
            loaded = load()
            visual = self._process(loaded) if isinstance(loaded, MedicalImage) else loaded
        except BaseException as error:
            self._done(key, own)
            own.set_exception(error)
            raise
        self._done(key, own, visual)
        own.set_result(visual)
        return visual

    def _done(self, key: Key, own: Future[ProcessedVisual], visual: ProcessedVisual | None = None) -> None:
        with self._lock:
            del self._reading[key]
            if visual is None or visual.nbytes > self.max_bytes:
                return
            self._visuals[key] = visual
            self.num_bytes += visual.nbytes
            while self.num_bytes > self.max_bytes:
                _, oldest = self._visuals.popitem(last=False)
                self.num_bytes -= oldest.nbytes

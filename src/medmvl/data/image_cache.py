"""Decoded images and volumes of the last samples, kept in memory: questions about one scan read it once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from medmvl.data.loader import BlockLoader
from medmvl.imaging import MedicalImage
from medmvl.schema import ImageBlock, VolumeBlock

Load = Callable[[ImageBlock | VolumeBlock], MedicalImage]


class ImageCache:
    """At most `limit` bytes; the least recently used go first. Empty in a new process."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.num_bytes = 0
        self._images: OrderedDict[tuple[Any, ...], MedicalImage] = OrderedDict()

    def wrap(self, loader: BlockLoader, load: Load) -> Load:
        """Return a `load` that looks here first; `loader` says which file a block means."""

        def cached(block: ImageBlock | VolumeBlock) -> MedicalImage:
            key = (loader.reference(block), block.type, *sorted(loader.declarations(block).items()))
            if key in self._images:
                self._images.move_to_end(key)
                return self._images[key]
            image = load(block)
            self._add(key, image)
            return image

        return cached

    def _add(self, key: tuple[Any, ...], image: MedicalImage) -> None:
        if image.array.nbytes > self.limit:
            return
        self._images[key] = image
        self.num_bytes += image.array.nbytes
        while self.num_bytes > self.limit:
            _, oldest = self._images.popitem(last=False)
            self.num_bytes -= oldest.array.nbytes

    def __getstate__(self) -> dict[str, Any]:
        return {"limit": self.limit, "num_bytes": 0, "_images": OrderedDict()}

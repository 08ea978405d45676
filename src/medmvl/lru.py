"""A cache limited by bytes: what was used longest ago goes first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Any, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class BoundedLRU(Generic[Key, Value]):
    """Values by key, at most `max_bytes` of them. Threads may share it; a copy in another process begins empty."""

    def __init__(self, max_bytes: int, size_of: Callable[[Value], int]) -> None:
        """Start empty.

        Args:
            max_bytes: limit of all values together; a larger value is not kept.
            size_of: bytes of a value, the same each time it is asked.
        """
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._size_of = size_of
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> Value | None:
        """The value, which then counts as the one used last, or None."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key]

    def put(self, key: Key, value: Value) -> None:
        """Keep a value, in place of an older one of its key."""
        size = self._size_of(value)
        with self._lock:
            if key in self._values:
                self.num_bytes -= self._size_of(self._values.pop(key))
            if size > self.max_bytes:
                return
            self._values[key] = value
            self.num_bytes += size
            while self.num_bytes > self.max_bytes:
                _, oldest = self._values.popitem(last=False)
                self.num_bytes -= self._size_of(oldest)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._values.clear()
            self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __getstate__(self) -> dict[str, Any]:
        return {"max_bytes": self.max_bytes, "size_of": self._size_of}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["max_bytes"], state["size_of"])  # type: ignore[misc]

"""Keys and values that grow in place.

transformers' `DynamicCache` joins old and new keys in a new tensor at every token: with a CT of hundreds of visual tokens
that copy costs as much as the matrix products of a step. Here every layer has room for the tokens to come.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

ROOM = 64
"""Tokens of room at first; a layer without room grows by half its length, at least by this."""


class GrowingLayer(DynamicLayer):
    """A `DynamicLayer` whose `keys` and `values` `(B, heads, length, width)` are the used part of larger tensors."""

    keys: Tensor
    values: Tensor

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # transformers does not annotate it
        self._room_of_keys: Tensor | None = None
        self._room_of_values: Tensor | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append `(B, heads, new, width)` each; return all keys and values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start = self.get_seq_length()
        self._room_of_keys, self.keys = _append(self._room_of_keys, self.keys, start, key_states)
        self._room_of_values, self.values = _append(self._room_of_values, self.values, start, value_states)
        return self.keys, self.values


def growing_cache(config: PreTrainedConfig) -> DynamicCache:
    """An empty cache for an LLM; layers that keep no full history (a sliding window, a state) stay as they are."""
    cache = DynamicCache(config=config)
    cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def _append(room: Tensor | None, used: Tensor, start: int, new: Tensor) -> tuple[Tensor, Tensor]:
    """Write `new` after the first `start` places. `used` may have been cut or reordered since: then it is copied first."""
    end = start + new.shape[-2]
    if room is None or end > room.shape[-2] or (start and used.data_ptr() != room.data_ptr()):
        batch, heads, _, width = new.shape
        room = new.new_empty(batch, heads, end + max(ROOM, end // 2), width)
        if start:
            room[:, :, :start] = used
    room[:, :, start:end] = new
    return room, room[:, :, :end]

"""Keys and values of prompt beginnings already read: the next question about a scan reads only its own words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedConfig
from transformers.cache_utils import DynamicLayer

from medmvl.engine.key_value_cache import GrowingLayer, growing_cache

Layers = tuple[tuple[Tensor, Tensor], ...]
KEEP_EVERY_POSITION = (DynamicLayer, GrowingLayer)


@dataclass(frozen=True)
class Prefix:
    """A beginning that all rows of a batch share."""

    key: str
    length: int


def num_bytes(layers: Layers) -> int:
    """Bytes of the keys and values `(1, heads, length, width)` of every layer."""
    return sum(tensor.nbytes for pair in layers for tensor in pair)


def layers_of(cache: Cache, length: int) -> Layers | None:
    """A copy of the first `length` positions of a cache's first row.

    None where a layer does not keep every position (a sliding window, a state).
    """
    if not isinstance(cache, DynamicCache):
        return None
    layers: list[Any] = cache.layers  # of the types below, which keep keys and values
    if any(type(layer) not in KEEP_EVERY_POSITION for layer in layers):
        return None
    return tuple(
        (layer.keys[:1, :, :length].clone(), layer.values[:1, :, :length].clone()) for layer in layers
    )


def to_cache(layers: Layers, num_rows: int, config: PreTrainedConfig) -> DynamicCache:
    """A cache of `num_rows` equal rows that may grow without touching `layers`."""
    cache = growing_cache(config)
    for index, (keys, values) in enumerate(layers):
        cache.update(keys.expand(num_rows, -1, -1, -1), values.expand(num_rows, -1, -1, -1), index)
    return cache


def with_gap(prefix: Tensor, prompts: list[Tensor], pad_id: int) -> tuple[Tensor, Tensor]:
    """Prompts `(L,)` that begin with `prefix`, as a batch: prefix, padding, the rest; and the mask over them."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        rest = len(prompt) - len(prefix)
        ids[row, : len(prefix)], mask[row, : len(prefix)] = prefix, 1
        ids[row, longest - rest :], mask[row, longest - rest :] = prompt[len(prefix) :], 1
    return ids, mask

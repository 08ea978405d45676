"""Visual tokens of scans already encoded: the second question about a scan does not encode it again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

import torch
from torch import Tensor


def digest(*tensors: Tensor | None) -> str:
    """SHA-256 over shape, type and bytes of the tensors."""
    total = hashlib.sha256()
    for tensor in tensors:
        if tensor is None:
            total.update(b"none")
            continue
        plain = tensor.detach().cpu().contiguous()
        total.update(f"{tuple(plain.shape)} {plain.dtype}".encode())
        total.update(plain.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


class TokenCache:
    """The least recently used tokens go first once `max_bytes` are held. Of one engine: one model, one dtype."""

    def __init__(self, max_bytes: int = 256 * 1024**2) -> None:
        self.max_bytes = max_bytes
        self.num_bytes = 0
        self._tokens: OrderedDict[str, Tensor] = OrderedDict()

    def get(self, key: str) -> Tensor | None:
        """The tokens `(length, width)` of these pixels, or None."""
        tokens = self._tokens.get(key)
        if tokens is not None:
            self._tokens.move_to_end(key)
        return tokens

    def put(self, key: str, tokens: Tensor) -> None:
        """Remember tokens; those larger than the whole cache are not kept."""
        size = tokens.nelement() * tokens.element_size()
        if key in self._tokens or size > self.max_bytes:
            return
        self._tokens[key] = tokens.clone()  # a view would keep the whole batch alive
        self.num_bytes += size
        while self.num_bytes > self.max_bytes:
            _, oldest = self._tokens.popitem(last=False)
            self.num_bytes -= oldest.nelement() * oldest.element_size()

    def clear(self) -> None:
        """Forget everything."""
        self._tokens.clear()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._tokens)

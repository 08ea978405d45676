"""Independent random streams: patient 7 of a seed is the same whether 10 or 10,000 are made.

Findings are balanced by design rather than by luck: patients come in blocks, and in each block a
shuffled list of strata decides who has what. A patient's stratum depends on the seed and the block alone.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

BLOCK = 40
"""Patients in a block: a split whose size is a multiple of it is balanced exactly."""


def stream(seed: int, index: int, purpose: str) -> np.random.Generator:
    """Return the generator for one purpose of one patient."""
    return np.random.Generator(
        np.random.PCG64(np.random.SeedSequence((seed, index, zlib.crc32(purpose.encode()))))
    )


def stratum(seed: int, index: int, purpose: str) -> int:
    """Return this patient's stratum, `0 <= stratum < BLOCK`; each occurs once in a block."""
    return int(_block(seed, index // BLOCK, purpose)[index % BLOCK])


@lru_cache(maxsize=1024)
def _block(seed: int, block: int, purpose: str) -> NDArray[np.int64]:
    return stream(seed, block, f"block/{purpose}").permutation(BLOCK)

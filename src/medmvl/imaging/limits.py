"""How much memory a file may claim before it is believed: a header is checked against this before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medmvl.errors import ReadError

MAX_BYTES = 2**31
"""Largest decoded array, in bytes: a CT of 1024 x 1024 x 1024 voxels in 16 bit."""


def check_size(shape: Sequence[int], bytes_per_voxel: int) -> int:
    """Return the number of bytes an array needs.

    Raises:
        ReadError: where a side is not positive or the array exceeds `MAX_BYTES`.
    """
    sides = [int(n) for n in shape]
    said = " x ".join(map(str, sides)) or "nothing"
    if not sides or min(sides) < 1:
        raise ReadError(f"the header claims an array of {said}: there are no voxels to read")
    size = math.prod(sides) * bytes_per_voxel
    if size > MAX_BYTES:
        raise ReadError(
            f"the header claims an array of {said} ({size / 2**30:.1f} GiB); the limit is {MAX_BYTES / 2**30:.0f} GiB. "
            "The file is damaged, or must be cropped or resampled first"
        )
    return size

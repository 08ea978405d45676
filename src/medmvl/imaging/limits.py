"""How much memory a file may claim before it is believed: a header is checked against this before anything is allocated."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from medmvl.errors import ReadError

MAX_BYTES = 2**31
"""Largest decoded array, in bytes: a CT of 1024 x 1024 x 1024 voxels in 16 bit."""

MAX_EXPANSION, FREE_BYTES = 200, 2**26
"""Largest growth of compressed bytes; results below 64 MiB are accepted at any ratio."""

_max_voxels: ContextVar[int | None] = ContextVar("max_voxels", default=None)


@contextmanager
def at_most(voxels: int) -> Iterator[None]:
    """Refuse, within this context, files of others that claim more voxels, before they are decoded."""
    token = _max_voxels.set(voxels)
    try:
        yield
    finally:
        _max_voxels.reset(token)


def claims_are_limited() -> bool:
    """Return whether this runs within `at_most`, for a file that somebody else sent."""
    return _max_voxels.get() is not None


def check_size(shape: Sequence[int], bytes_per_voxel: int) -> int:
    """Return the number of bytes an array needs.

    Raises:
        ReadError: where a side is not positive or the array exceeds `MAX_BYTES`, or the voxels of `at_most`.
    """
    sides = [int(n) for n in shape]
    said = " x ".join(map(str, sides)) or "nothing"
    if not sides or min(sides) < 1:
        raise ReadError(f"the header claims an array of {said}: there are no voxels to read")
    most = _max_voxels.get()
    if most is not None and math.prod(sides) > most:
        raise ReadError(f"the header claims an array of {said}; at most {most} voxels are taken here")
    size = math.prod(sides) * bytes_per_voxel
    if size > MAX_BYTES:
        raise ReadError(
            f"the header claims an array of {said} ({size / 2**30:.1f} GiB); the limit is {MAX_BYTES / 2**30:.0f} GiB. "
            "The file is damaged, or must be cropped or resampled first"
        )
    return size


def max_expanded(stored: int) -> int:
    """Return how many bytes `stored` ones may become: a scan grows 2 to 20 times, a file made to fill memory 1,000 times."""
    return min(MAX_BYTES, max(FREE_BYTES, MAX_EXPANSION * stored))


def check_expansion(size: int, stored: int) -> None:
    """Raise ReadError where `stored` compressed bytes claim to become `size`, out of all proportion."""
    if size > max_expanded(stored):
        raise ReadError(
            f"{stored} compressed bytes claim to be {size} bytes of pixels, more than {MAX_EXPANSION} times as many: refused "
            "before memory is taken. If the file is yours (a mask that is nearly empty), store it uncompressed"
        )

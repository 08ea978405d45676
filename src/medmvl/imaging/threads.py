"""Work on the frames of a large stack by two threads: NumPy and reading files let go of the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from medmvl.imaging.decode_pool import max_workers

THREADS = 2
"""At most; a process that is one of several has fewer, as of those that decode."""
SMALL_BYTES = 8 << 20
"""Below it a thread costs more than it saves."""

Result = TypeVar("Result")


def by_parts(work: Callable[[range], Result], count: int, num_bytes: int) -> list[Result]:
    """What `work` returns for consecutive parts of `range(count)`, in order.

    Args:
        work: gets a part; it must write to nothing that another part reads.
        count: frames.
        num_bytes: of all frames; few bytes are one part.

    Raises:
        Exception: that of the first part whose work raised one, after all parts have ended.
    """
    threads = min(THREADS, max_workers(), count) if num_bytes >= SMALL_BYTES else 1
    if threads <= 1:
        return [work(range(count))]
    ends = [count * part // threads for part in range(threads + 1)]
    with ThreadPoolExecutor(threads - 1, thread_name_prefix="frames") as pool:
        others = [pool.submit(work, range(*ends[part : part + 2])) for part in range(1, threads)]
        return [work(range(ends[1])), *(other.result() for other in others)]

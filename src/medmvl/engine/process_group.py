"""Which process of a `torchrun` this is, and meeting the others. Alone, everything here does nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class ProcessGroup:
    """This process and the number of all that share the work."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process prints and merges."""
        return self.rank == 0

    def device(self, wanted: str) -> str:
        """The device of this process where `wanted` is `"auto"`: GPUs are shared out by local rank."""
        import torch

        if wanted == "auto" and self.size > 1 and torch.cuda.is_available():
            return f"cuda:{self.local_rank % torch.cuda.device_count()}"
        return wanted

    def wait(self) -> None:
        """Return once all processes are here."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.barrier()

    def gather(self, items: Sequence[Item]) -> list[Item]:
        """The items of all processes, in order of rank."""
        if self.size == 1:
            return list(items)
        import torch.distributed

        parts: list[list[Item] | None] = [None] * self.size
        torch.distributed.all_gather_object(parts, list(items))
        return [item for part in parts if part is not None for item in part]


SINGLE_PROCESS = ProcessGroup()
"""This process alone."""


@contextmanager
def joined_process_group() -> Iterator[ProcessGroup]:
    """Join the processes `torchrun` started (over gloo: answers travel as files, so no GPU is needed)."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    processes = ProcessGroup(int(os.environ.get("RANK", "0")), size, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield processes
        return
    import torch.distributed

    torch.distributed.init_process_group("gloo", timeout=timedelta(days=2))
    try:
        yield processes
    finally:
        torch.distributed.destroy_process_group()

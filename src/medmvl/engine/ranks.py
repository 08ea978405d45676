"""Which process of a `torchrun` this is, and waiting for the others. Alone, everything here does nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True)
class Ranks:
    """This process among its equals."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process reports and merges."""
        return self.rank == 0

    def wait(self) -> None:
        """Return once all processes are here."""
        if self.size > 1:
            import torch.distributed

            torch.distributed.barrier()


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the processes `torchrun` started (over gloo: answers travel as files, only waiting is shared)."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    ranks = Ranks(int(os.environ.get("RANK", "0")), size, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield ranks
        return
    import torch.distributed

    torch.distributed.init_process_group("gloo", timeout=timedelta(days=2))
    try:
        yield ranks
    finally:
        torch.distributed.destroy_process_group()

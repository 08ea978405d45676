"""Processes that work for another one and end with it, also where it was killed."""

from __future__ import annotations

import multiprocessing
import os
from threading import Thread


def end_with_parent() -> None:
    """Initializer of a pool: a thread waits for the parent and ends this process at once when it is gone."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_wait, args=(parent,), daemon=True, name="end-with-parent").start()


def _wait(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)

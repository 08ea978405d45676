"""Processes that work for another one and end with it, also where it was killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
from threading import Thread


def end_with_parent() -> None:
    """Initializer of a pool: a thread waits for the parent and ends this process at once when it is gone.

    Ctrl-C reaches every process of a terminal; this one ends by it without a traceback, as the parent says what stopped.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        Thread(target=_wait, args=(parent,), daemon=True, name="end-with-parent").start()


def _wait(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)

"""Text as it is decoded: a sequence decodes in a thread of its own and hands over only text that will not change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event

from medmvl.engine.sequences import SequenceState


def stream_pieces(sequence: SequenceState, decode: Callable[[], None]) -> Iterator[str]:
    """Run `decode`, which fills `sequence`, in a thread and yield its text piece by piece.

    The pieces joined are exactly the text of the whole answer. When the reader stops early (closes the
    iterator), decoding is cancelled before this returns. An error of the decoding is raised here.
    """
    pieces: SimpleQueue[str | None] = SimpleQueue()
    gone = Event()
    sequence.listen = pieces.put
    sequence.cancelled = gone.is_set

    def run_to_the_end() -> None:
        try:
            decode()
        finally:
            pieces.put(None)

    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        future = pool.submit(run_to_the_end)
        try:
            while (piece := pieces.get()) is not None:
                yield piece
        finally:
            gone.set()
        future.result()

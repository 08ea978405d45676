"""Text as it is decoded: token ids cross from the decoding thread, and only text that will not change is given out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Event
from typing import Any, TypeVar

import torch
from torch import Tensor
from transformers import StoppingCriteria
from transformers.generation.streamers import BaseStreamer

INCOMPLETE = "\ufffd"
"""What decoding gives for the first bytes of a character whose last bytes are still to come."""

Result = TypeVar("Result")


class TokenQueue(BaseStreamer):  # type: ignore[misc]
    """Receives ids from `generate`, first the prompt's, then one at a time; None marks the end."""

    def __init__(self) -> None:
        self.ids: SimpleQueue[int | None] = SimpleQueue()
        self._prompt_is_next = True

    def put(self, value: Tensor) -> None:
        """Take the ids of one step."""
        if self._prompt_is_next:
            self._prompt_is_next = False
            return
        for token in value.flatten().tolist():
            self.ids.put(token)

    def end(self) -> None:
        """Say that nothing more comes."""
        self.ids.put(None)


class Cancelled(StoppingCriteria):  # type: ignore[misc]
    """Stops decoding after the current step once the reader has gone."""

    def __init__(self) -> None:
        self.event = Event()

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        """Whether each row is done, `(B,)`."""
        return torch.full(
            (input_ids.shape[0],), self.event.is_set(), dtype=torch.bool, device=input_ids.device
        )


def stream_text(
    run: Callable[[TokenQueue, Cancelled], Result],
    decode: Callable[[Sequence[int]], str],
    stop_ids: Sequence[int],
) -> Iterator[str]:
    """Run a decoding in a thread and yield its text piece by piece.

    The pieces joined are exactly the text of the whole answer. When the reader stops early (closes the
    iterator), decoding is cancelled before this returns. An error of the decoding is raised here.
    """
    queue, cancelled = TokenQueue(), Cancelled()

    def run_to_the_end() -> Result:
        try:
            return run(queue, cancelled)
        finally:
            queue.end()

    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        future = pool.submit(run_to_the_end)
        try:
            yield from _pieces(queue, decode, frozenset(stop_ids))
        finally:
            cancelled.event.set()
        future.result()


def _pieces(
    queue: TokenQueue, decode: Callable[[Sequence[int]], str], stop_ids: frozenset[int]
) -> Iterator[str]:
    ids: list[int] = []
    given = ""
    while (token := queue.ids.get()) is not None and token not in stop_ids:
        ids.append(token)
        text = decode(ids)
        if not text.endswith(INCOMPLETE) and text.startswith(given) and len(text) > len(given):
            yield text[len(given) :]
            given = text
    text = decode(ids)
    if len(text) > len(given):
        yield text[len(given) :]

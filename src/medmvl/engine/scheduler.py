"""Many clients, one engine: questions are read ahead, wait together, are decoded in batches and streamed back one by one.

The asynchronous core of the server. A new batch is formed as soon as the last one ends, from questions of like length,
those about one scan first; owners take turns. A broken scan, a lack of memory or a client that left harms one question,
never the others.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Condition, Event, Thread
from typing import TYPE_CHECKING

import torch

from medmvl.engine.engine import Engine
from medmvl.engine.options import GREEDY, GenerationOptions
from medmvl.engine.owner_turns import OwnerTurns
from medmvl.engine.prefix_cache import Prefix
from medmvl.engine.request import Answer, Failure, Request
from medmvl.engine.sequences import SequenceState
from medmvl.errors import UserError
from medmvl.models.visuals import ProcessedSample

if TYPE_CHECKING:
    from medmvl.engine.request import Reason

logger = logging.getLogger(__name__)

Listener = Callable[[str], None]
STOP_SECONDS = 5.0
"""Time for the decoding thread to end after its questions were cancelled."""
OWNER_SHARE = 0.75
"""Share of the waiting questions that may be one owner's."""
LIKE_LENGTH = 2.0
"""Largest ratio between the token counts of questions in one batch."""


class BusyError(UserError):
    """Too many questions wait already."""


@dataclass(eq=False)
class QueuedRequest:
    """A question that waits for its answer."""

    request: Request
    options: GenerationOptions
    deadline: float | None
    """Deadline on the clock of `time.monotonic`."""
    listen: Listener | None
    result: Future[Answer | Failure] = field(default_factory=Future)
    prepared: ProcessedSample | None = None
    started: float = field(default_factory=time.perf_counter)
    _gone: Event = field(default_factory=Event)
    _given: int = 0

    def cancel(self) -> None:
        """Cancel the question: decoding stops after the current step."""
        self._gone.set()

    def ended(self) -> Failure | None:
        """Reason why no answer is needed any more."""
        if self._gone.is_set():
            return Failure(self.request.name, "cancelled", "cancelled")
        if self.deadline is not None and time.monotonic() > self.deadline:
            return Failure(self.request.name, "its time was over before it was answered", "deadline")
        return None

    def new_sequence(self, engine: Engine) -> SequenceState:
        """A new sequence; a second try does not stream again what the first one streamed."""
        assert self.prepared is not None
        sequence = engine.new_sequence(engine.fitted(self.options, self.prepared))
        sequence.cancelled, sequence.deadline = self._gone.is_set, self.deadline
        if self.listen is not None:
            sequence.listen = _skipping(self._hand_over, self._given)
        return sequence

    def _hand_over(self, piece: str) -> None:
        assert self.listen is not None
        self._given += len(piece)
        self.listen(piece)


class Scheduler:
    """Takes questions from any thread or task; one thread decodes, a few read."""

    def __init__(
        self, engine: Engine, *, max_batch: int = 16, max_waiting: int = 256, num_readers: int = 2
    ) -> None:
        self.engine = engine
        self.max_batch = max_batch
        self.max_waiting = max_waiting
        self._open: set[QueuedRequest] = set()
        self._unread: set[QueuedRequest] = set()
        self._to_read: list[QueuedRequest] = []
        self._ready: list[QueuedRequest] = []
        self._reading_turns = OwnerTurns[QueuedRequest](lambda question: question.request.owner)
        self._decoding_turns = OwnerTurns[QueuedRequest](lambda question: question.request.owner)
        self._changed = Condition()
        self._closed = False
        self._readers = ThreadPoolExecutor(num_readers, thread_name_prefix="read")
        self._decoder = Thread(target=self._run, name="decode", daemon=True)
        self._decoder.start()

    @property
    def num_open(self) -> int:
        """Questions that are not answered yet."""
        return len(self._open)

    def submit(
        self,
        request: Request,
        options: GenerationOptions = GREEDY,
        *,
        seconds: float | None = None,
        listen: Listener | None = None,
    ) -> QueuedRequest:
        """Put a question in the queue and return at once.

        Args:
            request: the conversation.
            options: of decoding.
            seconds: an answer that is not complete by then ends as it is, or fails if it has not begun.
            listen: receives the text piece by piece, in another thread.

        Raises:
            BusyError: `max_waiting` questions wait already, or three quarters as many of this owner.
            UserError: the scheduler is closed, or beams are to be streamed.
        """
        if listen is not None and options.num_beams > 1:
            raise UserError(
                "beam search knows its answer only at the end and cannot be streamed; set num_beams to 1"
            )
        question = QueuedRequest(
            request, options, None if seconds is None else time.monotonic() + seconds, listen
        )
        with self._changed:
            if self._closed:
                raise UserError("the engine is shutting down")
            if self.num_open >= self.max_waiting:
                raise BusyError(f"{self.num_open} questions wait already; try again later")
            held = sum(waiting.request.owner == request.owner for waiting in self._open)
            if held >= math.ceil(OWNER_SHARE * self.max_waiting):
                raise BusyError(f"{held} questions of yours wait already; try again later")
            self._open.add(question)
            self._unread.add(question)
            self._to_read.append(question)
        self._readers.submit(self._read_next)
        return question

    async def answer(
        self, request: Request, options: GenerationOptions = GREEDY, *, seconds: float | None = None
    ) -> Answer | Failure:
        """Answer one question; cancelling the task stops the decoding."""
        question = self.submit(request, options, seconds=seconds)
        try:
            return await asyncio.wrap_future(question.result)
        finally:
            question.cancel()

    async def stream(
        self, request: Request, options: GenerationOptions = GREEDY, *, seconds: float | None = None
    ) -> AsyncIterator[str | Answer | Failure]:
        """The answer's text piece by piece, then the answer; closing the iterator stops the decoding."""
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()

        def post(piece: str | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        question = self.submit(request, options, seconds=seconds, listen=post)
        question.result.add_done_callback(lambda _: post(None))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
            yield question.result.result()
        finally:
            question.cancel()

    def end_late(self) -> None:
        """End the questions whose time is over before they were read: readers are busy with others."""
        with self._changed:
            unread = [question for question in self._unread if question.ended()]
        for question in unread:
            if failure := question.ended():
                self._finish(question, failure)

    def close(self, seconds: float | None = None) -> None:
        """Take nothing new, answer what waits, and end the threads.

        Args:
            seconds: longest time to wait; what is not answered by then is cancelled. None waits for all.
        """
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self.num_open == 0, seconds):
                for question in self._open:
                    question.cancel()
        self._readers.shutdown(wait=seconds is None, cancel_futures=seconds is not None)
        with self._changed:
            self._changed.notify_all()
        self._decoder.join(None if seconds is None else STOP_SECONDS)

    def _read_next(self) -> None:
        with self._changed:
            question = self._reading_turns.order(self._to_read)[0]
            self._reading_turns.serve([question])
            self._to_read.remove(question)
        self._read(question)

    def _read(self, question: QueuedRequest) -> None:
        outcome: ProcessedSample | Failure
        try:
            outcome = question.ended() or self.engine.try_prepare(question.request, question.options)
        except Exception as error:
            logger.exception("reading failed")
            outcome = Failure(question.request.name, f"reading failed ({type(error).__name__})", "internal")
        if isinstance(outcome, Failure):
            self._finish(question, outcome)
            return
        question.prepared = outcome
        with self._changed:
            if question not in self._open:
                return
            self._unread.discard(question)
            self._ready.append(question)
            self._changed.notify_all()

    def _run(self) -> None:
        while batch := self._next_batch():
            self._decode(batch)

    def _next_batch(self) -> list[QueuedRequest]:
        """Wait for questions and choose some; empty once closed and all are answered."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or (self._closed and self.num_open == 0))
            if not self._ready:
                return []
            chosen = self._choose()
            self._decoding_turns.serve(chosen)
            self._ready = [question for question in self._ready if question not in chosen]
            return chosen

    def _choose(self) -> list[QueuedRequest]:
        """The next owner's first question and up to `max_batch - 1` like it, those about its scan first."""
        waiting = self._decoding_turns.order(self._ready)
        first = waiting[0]
        if first.options.num_beams > 1:
            return [first]
        alike = [question for question in waiting if _alike(first, question)]
        prefix = self._prefix(first)
        sharing = [question for question in alike if prefix is not None and self._prefix(question) == prefix]
        return (sharing if len(sharing) > 1 else alike)[: self.max_batch]

    def _prefix(self, question: QueuedRequest) -> Prefix | None:
        assert question.prepared is not None
        return self.engine.inputs.prefix_of(question.prepared, question.request.owner)

    def _decode(self, batch: list[QueuedRequest]) -> None:
        waiting = []
        for question in batch:
            if failure := question.ended():
                self._finish(question, failure)
            else:
                waiting.append(question)
        if not waiting:
            return
        try:
            sequences = self._decode_together(waiting)
        except UserError as error:
            self._each_alone(waiting, str(error), "input")
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            self._each_alone(waiting, "not enough memory for this question", "memory")
        except Exception as error:
            logger.exception("decoding failed")
            self._each_alone(waiting, f"decoding failed ({type(error).__name__})", "internal")
        else:
            for question, sequence in zip(waiting, sequences, strict=True):
                assert question.prepared is not None
                seconds = time.perf_counter() - question.started
                self._finish(question, self.engine.answer_of(question.prepared, sequence, seconds))

    def _decode_together(self, queued: list[QueuedRequest]) -> list[SequenceState]:
        samples = [question.prepared for question in queued if question.prepared is not None]
        owners = [question.request.owner for question in queued]
        sequences = [question.new_sequence(self.engine) for question in queued]
        if queued[0].options.num_beams > 1:
            self.engine.search_beams(samples, sequences, sequences[0].options, owners)
        else:
            self.engine.decode_sequences(samples, sequences, owners)
        return sequences

    def _each_alone(self, queued: list[QueuedRequest], error: str, reason: Reason) -> None:
        """Run the two halves of a failed batch separately, so that only the request at fault fails."""
        if len(queued) == 1:
            self._finish(queued[0], Failure(queued[0].request.name, error, reason))
            return
        self._decode(queued[: len(queued) // 2])
        self._decode(queued[len(queued) // 2 :])

    def _finish(self, question: QueuedRequest, outcome: Answer | Failure) -> None:
        with self._changed:
            if question not in self._open:
                return  # it ended while it waited
            self._open.discard(question)
            self._unread.discard(question)
            self._changed.notify_all()
        if question.result.set_running_or_notify_cancel():
            question.result.set_result(outcome)


def _alike(first: QueuedRequest, other: QueuedRequest) -> bool:
    assert first.prepared is not None and other.prepared is not None
    lengths = len(first.prepared.input_ids), len(other.prepared.input_ids)
    return other.options.num_beams == 1 and max(lengths) <= LIKE_LENGTH * min(lengths)


def _skipping(listen: Listener, given: int) -> Listener:
    """Hands over only what comes after the first `given` characters."""
    left = given

    def hand_over(piece: str) -> None:
        nonlocal left
        rest = type(piece)(piece[left:])
        left = max(0, left - len(piece))
        if rest:
            listen(rest)

    return hand_over

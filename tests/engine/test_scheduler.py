"""Many askers at once: none lost, none mixed up; a bad scan, a lack of memory or a client that left harms one question."""

import asyncio
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from medmvl.engine import Answer, Engine, Failure, GenerationOptions, Request
from medmvl.engine.scheduler import BusyError, Scheduler
from medmvl.errors import ReadError, UserError
from tests.factories.engine import question, tiny_engine, visual_of

SHORT = GenerationOptions(max_new_tokens=8)
SAMPLES = [
    question(f"{visual} {text}", text, visual)
    for visual in ("ct-1", "ct-2", "x-1", "x-2")
    for text in ("Is there a nodule?", "Which lobe is it in, and how large is it?", "心脏增大吗？")
]
REQUESTS = [Request.from_sample(sample, visual_of) for sample in SAMPLES]


@pytest.fixture(scope="module")
def engine() -> Engine:
    engine: Engine = tiny_engine()
    return engine


@pytest.fixture
def scheduler(engine: Engine) -> Iterator[Scheduler]:
    scheduler = Scheduler(engine, max_batch=4)
    yield scheduler
    scheduler.close()


def broken(block: Any) -> Any:
    raise ReadError("not an image")


def test_every_question_gets_its_own_answer(engine: Engine, scheduler: Scheduler) -> None:
    alone = [engine.answer([request], SHORT)[0].tokens for request in REQUESTS]
    queued = [scheduler.submit(request, SHORT) for request in REQUESTS * 3]
    found = [entry.result.result(timeout=60) for entry in queued]
    assert [answer.tokens for answer in found if isinstance(answer, Answer)] == alone * 3


def test_waiting_questions_are_decoded_together(
    engine: Engine, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    decode_sequences, begin = engine.decode_sequences, threading.Event()

    def counted(prepared: Any, sequences: Any, owners: Any = ()) -> None:
        begin.wait(30)
        sizes.append(len(prepared))
        decode_sequences(prepared, sequences, owners)

    monkeypatch.setattr(engine, "decode_sequences", counted)
    queued = [scheduler.submit(request, SHORT) for request in REQUESTS]
    end = time.monotonic() + 20
    while any(entry.prepared is None for entry in queued):  # the first batch may already have taken several
        assert time.monotonic() < end
        time.sleep(0.01)
    begin.set()
    assert all(isinstance(entry.result.result(timeout=60), Answer) for entry in queued)
    assert sum(sizes) == len(REQUESTS) and max(sizes) > 1 and max(sizes) <= 4


def test_one_owner_leaves_room_for_others_who_come_next(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[list[str]] = []
    decode_sequences, begin = engine.decode_sequences, threading.Event()

    def noted(prepared: Any, sequences: Any, owners: Any = ()) -> None:
        begin.wait(30)
        batches.append(list(owners))
        decode_sequences(prepared, sequences, owners)

    monkeypatch.setattr(engine, "decode_sequences", noted)
    scheduler = Scheduler(engine, max_batch=1, max_waiting=8)
    try:
        much = [replace(REQUESTS[0], owner="much") for _ in range(6)]
        queued = [scheduler.submit(request, SHORT) for request in much]
        with pytest.raises(BusyError, match="6 questions of yours"):
            scheduler.submit(much[0], SHORT)
        queued.append(scheduler.submit(replace(REQUESTS[0], owner="other"), SHORT))
        end = time.monotonic() + 20
        while any(entry.prepared is None for entry in queued):
            assert time.monotonic() < end
            time.sleep(0.01)
        begin.set()
        assert all(isinstance(entry.result.result(timeout=60), Answer) for entry in queued)
    finally:
        begin.set()
        scheduler.close()
    assert batches.index(["other"]) <= 1 and len(batches) == 7


def test_one_bad_scan_harms_one_question(scheduler: Scheduler) -> None:
    bad = Request(SAMPLES[0].messages, broken, "bad")
    queued = [scheduler.submit(request, SHORT) for request in (REQUESTS[0], bad, REQUESTS[1])]
    first, failed, last = (entry.result.result(timeout=60) for entry in queued)
    assert isinstance(first, Answer) and isinstance(last, Answer)
    assert isinstance(failed, Failure) and failed.reason == "input" and "not an image" in failed.error


@pytest.mark.parametrize(
    ("error", "reason"), [(torch.OutOfMemoryError("no memory"), "memory"), (RuntimeError("boom"), "internal")]
)
def test_only_the_question_to_blame_fails(
    engine: Engine, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    decode_sequences = engine.decode_sequences

    def too_large(prepared: Any, sequences: Any, owners: Any = ()) -> None:
        if any(sample.name == REQUESTS[2].name for sample in prepared):
            raise error
        decode_sequences(prepared, sequences, owners)

    monkeypatch.setattr(engine, "decode_sequences", too_large)
    queued = [scheduler.submit(request, SHORT) for request in REQUESTS[:4]]
    outcomes = [entry.result.result(timeout=60) for entry in queued]
    assert [isinstance(outcome, Answer) for outcome in outcomes] == [True, True, False, True]
    assert isinstance(outcomes[2], Failure) and outcomes[2].reason == reason


def test_a_second_try_repeats_no_text(
    engine: Engine, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode_sequences, failed = engine.decode_sequences, threading.Event()

    def fails_once(prepared: Any, sequences: Any, owners: Any = ()) -> None:
        decode_sequences(prepared, sequences, owners)
        if len(prepared) > 1 and not failed.is_set():
            failed.set()
            raise RuntimeError("after all was given out")

    monkeypatch.setattr(engine, "decode_sequences", fails_once)
    pieces: dict[int, list[str]] = {0: [], 1: []}
    with engine._lock:  # nothing is decoded until both wait
        queued = [
            scheduler.submit(request, SHORT, listen=pieces[number].append)
            for number, request in enumerate(REQUESTS[:2])
        ]
        while any(entry.prepared is None for entry in queued):
            time.sleep(0.01)
    for number, entry in enumerate(queued):
        answer = entry.result.result(timeout=60)
        assert isinstance(answer, Answer) and "".join(pieces[number]) == answer.text


def test_streaming_gives_the_answer(engine: Engine, scheduler: Scheduler) -> None:
    async def collect() -> tuple[str, Answer]:
        pieces = [piece async for piece in scheduler.stream(REQUESTS[0], SHORT)]
        assert isinstance(pieces[-1], Answer)
        return "".join(piece for piece in pieces if isinstance(piece, str)), pieces[-1]

    text, answer = asyncio.run(collect())
    assert text == answer.text == engine.answer([REQUESTS[0]], SHORT)[0].text


def test_a_client_that_leaves_stops_its_decoding(scheduler: Scheduler) -> None:
    async def leave() -> None:
        stream = scheduler.stream(REQUESTS[0], GenerationOptions(max_new_tokens=400))
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]

    started = time.monotonic()
    asyncio.run(leave())
    assert isinstance(scheduler.submit(REQUESTS[1], SHORT).result.result(timeout=60), Answer)
    assert scheduler.num_open == 0
    assert time.monotonic() - started < 60


def test_a_deadline_fails_what_has_not_begun_and_ends_what_has(scheduler: Scheduler) -> None:
    late = scheduler.submit(REQUESTS[0], SHORT, seconds=0.0).result.result(timeout=60)
    assert isinstance(late, Failure) and late.reason == "deadline"


def test_a_full_queue_and_a_closed_engine_refuse(engine: Engine) -> None:
    full = Scheduler(engine, max_waiting=1)
    with engine._lock:
        first = full.submit(REQUESTS[0], SHORT)
        with pytest.raises(BusyError, match="wait already"):
            full.submit(REQUESTS[1], SHORT)
    assert isinstance(first.result.result(timeout=60), Answer)
    full.close()
    with pytest.raises(UserError, match="shutting down"):
        full.submit(REQUESTS[0], SHORT)


def test_closing_answers_what_waits(engine: Engine) -> None:
    closing = Scheduler(engine)
    queued = [closing.submit(request, SHORT) for request in REQUESTS]
    closing.close()
    assert all(isinstance(entry.result.result(timeout=1), Answer) for entry in queued)

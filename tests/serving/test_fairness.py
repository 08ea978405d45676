"""Those who ask wrongly or much wait; those who ask rightly do not wait for them."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from pydicom.data import get_testdata_file

from medmvl.engine import Engine
from medmvl.engine.owner_turns import OwnerTurns
from medmvl.errors import ReadError, UserError
from medmvl.imaging.unzipping import ArchiveLimits, unzip
from medmvl.serving.api import create_app
from medmvl.serving.places import Places
from medmvl.serving.reader_processes import ReaderProcesses
from medmvl.serving.refusals import Refusals, client_of
from medmvl.serving.settings import Limits, ServeSettings
from medmvl.serving.turns import TooManyError, Turns
from tests.factories.engine import tiny_engine
from tests.factories.server import running

KEYS = ("a-key-of-hospital-one", "a-key-of-hospital-two")


@pytest.fixture(scope="module")
def engine() -> Engine:
    engine: Engine = tiny_engine()
    return engine


def ask(address: str, key: str, **body: Any) -> tuple[int, float]:
    """Status, and seconds to it."""
    started = time.monotonic()
    question = {"model": "medmvl", "max_tokens": 1, "messages": [{"role": "user", "content": "?"}], **body}
    headers = {"Authorization": f"Bearer {key}"}
    status = httpx.post(
        f"{address}/v1/chat/completions", json=question, headers=headers, timeout=30
    ).status_code
    return status, time.monotonic() - started


def test_a_client_that_was_refused_often_waits_and_another_does_not(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    wait = Refusals.wait

    async def noting(self: Refusals, client: str, stopping: asyncio.Event) -> bool:
        waits.append(self.seconds(client))
        return await wait(self, client, stopping)

    monkeypatch.setattr(Refusals, "wait", noting)
    limits = Limits(free_refusals=3, longest_wait_seconds=0.6)
    with running(create_app(engine, ServeSettings(keys=KEYS, limits=limits))) as address:
        assert [ask(address, KEYS[0], stop=7)[0] for _ in range(6)] == [400] * 6
        status, seconds = ask(address, KEYS[0])
        assert status == 200 and seconds > 0.5  # late, yet answered
        ask(address, KEYS[1])
        httpx.get(f"{address}/health")  # never waits
    assert waits[:3] == [0, 0, 0] and 0 < waits[3] < waits[4] < waits[6] == 0.6
    assert waits[7:] == [0]


def test_refusals_are_forgiven_and_never_lock_out(monkeypatch: pytest.MonkeyPatch) -> None:
    refusals, clock = Refusals(Limits(free_refusals=2, longest_wait_seconds=4)), [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    seconds = []
    for _ in range(100):
        refusals.note("a", 400)
        seconds.append(refusals.seconds("a"))
    assert seconds[:5] == [0, 0.25, 0.5, 1, 2] and seconds[-1] == max(seconds) == 4
    assert refusals.seconds("b") == 0
    clock[0] += 100
    assert refusals.seconds("a") == 0
    for status in (429, 503, 404):
        for _ in range(50):
            refusals.note("c", status)
    assert refusals.seconds("c") == 0  # not the client's fault
    patient = Refusals(Limits(longest_wait_seconds=0))
    for _ in range(100):
        patient.note("a", 400)
    assert patient.seconds("a") == 0


def test_more_waiting_requests_than_allowed_are_told_to_come_later() -> None:
    async def run() -> list[bool]:
        refusals = Refusals(Limits(free_refusals=0, longest_wait_seconds=0.2, waiting_refused=2))
        refusals.note("a", 400)
        stopping = asyncio.Event()
        return list(await asyncio.gather(*(refusals.wait("a", stopping) for _ in range(3))))

    assert sorted(asyncio.run(run())) == [False, True, True]


def test_a_client_is_a_key_from_an_address() -> None:
    assert client_of("10.0.0.1", "k") != client_of("10.0.0.1", "l") != client_of("10.0.0.2", "l")
    assert (
        client_of("2001:db8::1", None)
        == client_of("2001:db8::ffff:2", None)
        != client_of("2001:db9::1", None)
    )


def test_turns_alternate_between_clients_and_leave_a_place() -> None:
    async def run() -> list[str]:
        turns, order = Turns(2, 1, 3), list[str]()

        async def work(client: str) -> None:
            async with turns.of(client):
                order.append(client)
                await asyncio.sleep(0.01)

        tasks = [asyncio.ensure_future(work("much")) for _ in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(TooManyError):
            await work("much")
        gone = asyncio.ensure_future(work("gone"))
        await asyncio.sleep(0)
        gone.cancel()
        await work("other")
        assert len([client for client in order if client == "much"]) == 1
        await asyncio.gather(*tasks)
        assert not turns._queues and not turns._held and turns._free == 2
        return order

    assert asyncio.run(run()).count("much") == 4


def test_half_of_the_places_are_for_others() -> None:
    places = Places(4)
    held = [places.take("a") for _ in range(3)]
    assert held[1] is not None and held[2] is None
    assert places.take("b") is not None
    held[1]()
    held[1]()
    assert places.take("a") is not None and places.take("a") is None


def test_owners_take_turns() -> None:
    turns = OwnerTurns[str](lambda item: item[0])
    assert turns.order(["a1", "a2", "a3", "b1"]) == ["a1", "b1", "a2", "a3"]
    turns.serve(["a1"])
    assert turns.order(["a2", "a3", "b1", "c1"]) == ["b1", "c1", "a2", "a3"]


@pytest.fixture(scope="module")
def readers() -> Iterator[ReaderProcesses]:
    readers = ReaderProcesses(2, 2.0, 4)
    yield readers
    readers.close()


def test_a_file_that_ends_its_reader_or_takes_too_long_is_refused_and_the_next_is_read(
    readers: ReaderProcesses,
) -> None:
    async def run() -> None:
        assert await readers.run("a", os.getpid) != os.getpid()
        with pytest.raises(UserError, match="ended the process"):
            await readers.run("a", os.abort)
        with pytest.raises(UserError, match="more than 2 seconds"):
            await readers.run("a", time.sleep, 30)
        assert await readers.run("a", os.nice, 0) >= 10  # what answers has right of way

    asyncio.run(run())


def test_who_leaves_ends_the_work_that_was_begun_for_it(readers: ReaderProcesses) -> None:
    async def run() -> float:
        task = asyncio.ensure_future(readers.run("a", time.sleep, 30))
        await asyncio.sleep(0.3)
        task.cancel()
        started = time.monotonic()
        await readers.run("a", os.getpid)
        return time.monotonic() - started

    assert asyncio.run(run()) < 15


def test_a_body_that_is_not_complete_does_not_hold_up_the_end(engine: Engine) -> None:
    with running(create_app(engine, ServeSettings())) as address:
        host, port = address.removeprefix("http://").split(":")
        connection = socket.create_connection((host, int(port)), timeout=10)
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        connection.sendall(head + b"Content-Length: 99\r\n\r\n{")
        time.sleep(0.2)
        started = time.monotonic()
    assert time.monotonic() - started < 10
    with connection:
        assert b" 503 " in connection.recv(65536).split(b"\r\n", 1)[0]


def test_a_slow_body_is_refused_however_steadily_it_comes(engine: Engine) -> None:
    limits = Limits(pause_seconds=0.4, bytes_per_second=1000)
    with running(create_app(engine, ServeSettings(limits=limits))) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            head = (
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            )
            connection.sendall(head + b"Content-Length: 9999\r\n\r\n{")
            connection.settimeout(0.1)
            for _ in range(50):
                connection.sendall(b" ")
                try:
                    answer = connection.recv(65536)
                    break
                except TimeoutError:
                    continue
        assert b" 408 " in answer.split(b"\r\n", 1)[0]


def test_an_archive_is_refused_by_its_end_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(21):
            archive.writestr(str(number), b"x")
    monkeypatch.setattr(zipfile, "ZipFile", None)  # its directory is not parsed
    with pytest.raises(ReadError, match="21 entries; at most 10"):
        unzip(tmp_path / "a.zip", tmp_path, ArchiveLimits(10, 1000), lambda number, name: None)


def test_readers_and_their_decoders_end_with_a_server_that_was_killed(tmp_path: Path) -> None:
    shutil.copy(str(get_testdata_file("MR_small_jp2klossless.dcm")), tmp_path / "upload")
    code = (
        "import asyncio, pathlib, sys, time\nfrom medmvl.serving.reader_processes import ReaderProcesses\n"
        "from medmvl.serving.intake import read_one\nfrom medmvl.serving.settings import Limits\n"
        "readers = ReaderProcesses(1, 60.0, 1)\n"
        "read = asyncio.run(readers.run('a', read_one, pathlib.Path(sys.argv[1]), '', Limits()))\n"
        "print(read.about['shape'], flush=True)\ntime.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "upload")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None and server.stdout.readline() == "[64, 64]\n"
        others = psutil.Process(server.pid).children(recursive=True)
        assert len(others) >= 2  # a reader and a decoder
        server.send_signal(signal.SIGKILL)
        server.wait()
        _, alive = psutil.wait_procs(others, timeout=20)
    assert not alive

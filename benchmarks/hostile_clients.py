"""Ten hostile clients next to an honest one: the honest client's median time to answer, with them and without.

Each hostile client repeats one thing that once cost a server seconds or gigabytes: thousands of turns, tens of thousands of
stop texts, sixty inline volumes, a body that grows a thousandfold, millions of JSON values, deep nesting, a very long text,
headers that never end, a body that never ends, an archive of thousands of files. The claims: every one is refused or
answered, the honest median grows by less than half, memory stays, and SIGTERM ends the server within its grace while they go
on. Rounds with and without them take turns, as other work on the machine changes. Loops are bounded in time, and only this
machine is asked. Exit code 1 where a claim fails.

With `--apart`, each hostile client has an address of its own, so that none pays for the others' refusals.

    python benchmarks/hostile_clients.py [--questions 30] [--apart]
"""

from __future__ import annotations

import argparse
import base64
import gzip
import io
import json
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import nibabel
import numpy as np
from serving_load import KEYS, Server, start, write_model

PAUSE_SECONDS = 0.2
"""Between two attacks of one client."""
GRACE_SECONDS = 30.0
"""The server below is started with answers of at most 10 seconds, and has 20 more to end."""
MAX_RATIO = 1.5
ROUNDS = 3
"""With hostile clients, and as many without."""
Attack = Callable[[httpx.Client, str], Any]


def post(body: bytes | dict[str, Any]) -> Attack:
    """An attack by one body."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {KEYS[1]}"}

    def send(client: httpx.Client, address: str) -> int:
        return client.post(f"{address}/v1/chat/completions", content=data, headers=headers).status_code

    return send


def upload(data: bytes) -> Attack:
    """An attack by one upload."""
    headers = {"authorization": f"Bearer {KEYS[1]}"}

    def send(client: httpx.Client, address: str) -> int:
        fields = {"purpose": "user_data"}
        files = {"file": ("x", data)}
        return client.post(f"{address}/v1/files", files=files, data=fields, headers=headers).status_code

    return send


def trickle(head: bytes, source: str) -> Attack:
    """An attack by a request that never ends: one byte a second until the server closes."""

    def send(client: httpx.Client, address: str) -> str:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=5, source_address=(source, 0)) as connection:
            connection.sendall(head)
            for _ in range(60):
                time.sleep(1)
                connection.sendall(b"x")
        return "never ended"

    return send


def asked(content: Any, **more: Any) -> dict[str, Any]:
    """A request of one turn."""
    return {"model": "medmvl", "max_tokens": 8, "messages": [{"role": "user", "content": content}], **more}


def zeros(side: int) -> bytes:
    """A NIfTI of zeros, compressed."""
    header = nibabel.Nifti1Header()
    header.set_data_shape((side, side, side))
    header.set_data_dtype(np.uint8)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header.set_sform(np.eye(4), 1)
    return gzip.compress(header.binaryblock + bytes(4) + bytes(side**3), 9)


def many_files() -> bytes:
    """An archive of more files than are taken."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(10_001):
            archive.writestr(str(number), b"x")
    return buffer.getvalue()


def attacks(source: str = "127.0.0.1") -> dict[str, Attack]:
    """What each hostile client does; what is sent by hand comes from `source`."""
    inline = "data:application/gzip;base64," + base64.b64encode(zeros(160)).decode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEYS[1]}\r\n"
    begun = head + "Content-Type: application/json\r\nContent-Length: 9999\r\n\r\n{"
    return {
        "4,000 turns": post({**asked(""), "messages": [{"role": "user", "content": "a"}] * 4000}),
        "30,000 stop texts": post(asked("x", stop=["\n" * 150 + str(n) + "z" * 50 for n in range(30_000)])),
        "60 inline volumes": post(asked([{"type": "volume", "volume": {"data": inline}}] * 60)),
        "4 million values": post(b'{"model": "medmvl", "messages": [' + b'{"a":1},' * 2_000_000),
        "deep nesting": post(b"[" * 40_000),
        "a text of 2 million": post(asked("lung " * 400_000)),
        "a grown archive": upload(zeros(400)),
        "10,001 files": upload(many_files()),
        "headers without end": trickle(head.encode() + b"X-Slow: ", source),
        "a body without end": trickle(begun.encode(), source),
    }  # fmt: skip


def attack_again(
    attack: Attack, name: str, address: str, at_work: threading.Event, seen: Counter[str], source: str
) -> None:
    """One hostile client, from the address `source`; it rests while `at_work` is not set."""
    transport = httpx.HTTPTransport(local_address=source)
    with httpx.Client(timeout=60, transport=transport) as client:
        while True:
            at_work.wait()
            try:
                seen[f"{name}: {attack(client, address)}"] += 1
            except (httpx.TransportError, OSError):
                seen[f"{name}: closed"] += 1
            time.sleep(PAUSE_SECONDS)


def honest(server: Server, count: int) -> list[float]:
    """Seconds to the answer of each of `count` questions, one after another."""
    seconds = []
    with httpx.Client(timeout=60, headers={"authorization": f"Bearer {KEYS[0]}"}) as client:
        for number in range(count):
            started = time.perf_counter()
            response = client.post(f"{server.address}/v1/chat/completions", json=asked(f"Nodule {number}?"))
            seconds.append(time.perf_counter() - started)
            if response.status_code != 200:
                raise SystemExit(f"the honest client got {response.status_code}: {response.text[:200]}")
    return seconds


def end(server: Server) -> float:
    """Seconds from SIGTERM to the end of the process; infinity where it had to be killed."""
    started = time.perf_counter()
    server.process.send_signal(signal.SIGTERM)
    try:
        server.process.wait(timeout=GRACE_SECONDS + 10)
    except subprocess.TimeoutExpired:
        server.process.kill()
        return float("inf")
    return time.perf_counter() - started


def be_hostile(address: str, apart: bool) -> None:
    """All hostile clients: at work or at rest as each line of standard input says; then print what they saw."""
    at_work, seen = threading.Event(), Counter[str]()
    for number, name in enumerate(attacks()):
        source = f"127.0.0.{number + 2}" if apart else "127.0.0.1"
        arguments = (attacks(source)[name], name, address, at_work, seen, source)
        threading.Thread(target=attack_again, args=arguments, daemon=True).start()
    print("ready", flush=True)
    for line in sys.stdin:
        (at_work.set if line == "work\n" else at_work.clear)()
    print(json.dumps(seen))


def measure(server: Server, count: int, apart: bool) -> bool:
    """Print what was seen; whether every claim holds."""
    command = [sys.executable, __file__, "--attack", server.address, *["--apart"] * apart]
    hostile = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert hostile.stdin is not None and hostile.stdout is not None and hostile.stdout.readline()
    honest(server, 5)
    memory = server.memory()
    seconds: dict[str, list[float]] = {"rest": [], "work": []}
    for what in list(seconds) * ROUNDS:
        print(what, file=hostile.stdin, flush=True)
        time.sleep(2)  # they have begun, or what they asked for is over
        seconds[what] += honest(server, -(-count // ROUNDS))
    time.sleep(30)  # endless headers and bodies are closed by then
    grown = server.memory() / memory
    until_end = end(server)
    seen = json.loads(hostile.communicate()[0])
    left = list(server.uploads.glob("medmvl-serve-*"))
    for line, times in sorted(seen.items()):
        print(f"  {times:5} x {line}")
    alone, beside = (statistics.median(seconds[what]) for what in ("rest", "work"))
    print(
        f"honest median: {alone * 1000:.0f} ms alone, {beside * 1000:.0f} ms with hostile clients: {beside / alone:.2f} x"
    )
    print(f"memory: {grown:.2f} x; SIGTERM to end: {until_end:.1f} s; uploads left: {len(left)}")
    return beside / alone < MAX_RATIO and until_end <= GRACE_SECONDS and not left


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--questions", type=int, default=30)
    parser.add_argument("--apart", action="store_true", help="an address for each hostile client")
    parser.add_argument("--attack", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.attack:
        be_hostile(arguments.attack, arguments.apart)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "uploads").mkdir()
        server = start(write_model(folder / "model"), folder / "uploads", "--seconds", "10")
        try:
            holds = measure(server, arguments.questions, arguments.apart)
        finally:
            server.process.kill()
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()

"""A real `medmvl serve` under hundreds of mixed requests, with slow and vanishing clients, bad uploads and a shutdown.

The claims: no answer is lost, none is another's (each equals the answer to the same question asked alone before), what is
wrong is refused and harms nobody, memory after the second round of load is not far above the first's, and on SIGTERM
every question that waits is answered before the process ends and leaves no upload. The model is untrained and small:
what is measured is the server. Exit code 1 where a claim fails.

    python benchmarks/serving_load.py [--requests 300] [--at-once 24]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
from PIL import Image

KEYS = ("key-of-the-first-hospital", "key-of-the-second-hospital")
QUESTIONS = (
    "Is there a nodule?",
    "Which lobe?",
    "有没有结节？",
    "Write a short report.",
    "Is the heart enlarged?",
)
MAX_TOKENS = 24
GROWTH = 1.25
"""Memory after the second round may be so many times that after the first."""
SHARES = {
    "whole": 47,
    "stream": 25,
    "slow to read": 4,
    "slow to send": 4,
    "vanish": 8,
    "bad upload": 6,
    "bad request": 6,
}
MODEL = {
    "llm": {
        "config": {
            "model_type": "qwen2", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 1024,
        },
        "tokenizer_vocab_size": 512,
    },
    "image_encoder": {"type": "vit2d", "size": [32, 32], "patch_size": [8, 8], "width": 32, "num_layers": 1, "num_heads": 2},
    "volume_encoder": {
        "type": "vit3d", "size": [8, 32, 32], "patch_size": [4, 8, 8], "width": 32, "num_layers": 1, "num_heads": 2,
    },
    "image_connector": {"type": "mlp"}, "volume_connector": {"type": "mlp"},
    "image_processor": {"size": [32, 32], "channels": 1, "mean": [0.5], "std": [0.25]},
    "volume_processor": {"size": [8, 32, 32], "windows": ["full"]},
    "max_length": 512,
}  # fmt: skip


@dataclass
class Server:
    """The process, its address, and what it writes."""

    process: subprocess.Popen[str]
    address: str
    uploads: Path
    log: list[str]

    def memory(self) -> float:
        """Resident MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        assert found is not None
        return int(found.group(1)) / 1024

    def client(self, key: str = KEYS[0]) -> openai.AsyncOpenAI:
        """OpenAI's client; 429 is tried again."""
        return openai.AsyncOpenAI(base_url=f"{self.address}/v1", api_key=key, max_retries=20, timeout=300)


@dataclass(frozen=True)
class Question:
    """A conversation of one turn, and how it is decoded."""

    content: Any
    options: dict[str, Any]

    def arguments(self, **more: Any) -> dict[str, Any]:
        """Of `chat.completions.create`."""
        turns = [{"role": "user", "content": self.content}]
        return {"model": "medmvl", "messages": turns, "max_tokens": MAX_TOKENS, **self.options, **more}


@dataclass
class Tally:
    """What happened."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def write_model(folder: Path) -> Path:
    import transformers.models.auto.modeling_auto  # noqa: F401  (registers our classes)

    from medmvl.models.assemble import assemble
    from medmvl.models.model_recipe import ModelRecipe

    model, processor = assemble(ModelRecipe.model_validate(MODEL), texts=QUESTIONS, seed=0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def start(model: Path, uploads: Path, *options: str) -> Server:
    """Start the server and wait until it listens."""
    environment = {
        **os.environ, "TMPDIR": str(uploads), "MEDMVL_API_KEYS": ",".join(KEYS), "HF_HUB_OFFLINE": "1",
        "MALLOC_ARENA_MAX": "2",
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "medmvl", "serve", str(model), "--port", "0", *options],
        env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    log: list[str] = []
    for line in process.stderr:
        log.append(line)
        if found := re.search(r"running on (http://\S+)", line):
            threading.Thread(target=log.extend, args=(process.stderr,), daemon=True).start()
            return Server(process, found.group(1), uploads, log)
    raise RuntimeError("the server did not start:\n" + "".join(log))


def png_url(seed: int) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 64), np.uint8)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def volume(seed: int) -> bytes:
    """A CT of noise as NIfTI."""
    from medmvl.imaging import MedicalImage
    from medmvl.imaging.write import write_nifti

    array = np.random.default_rng(seed).integers(-1000, 1000, (40, 96, 96)).astype(np.int16)
    image = MedicalImage(
        array=array, kind="volume", units="HU", source_format="numpy", spacing_mm=(5.0, 1.0, 1.0),
        affine=np.array([[0, 0, -1.0, 0], [0, -1.0, 0, 0], [5.0, 0, 0, 0], [0, 0, 0, 1]]), axcodes=("S", "P", "L"),
        modality="CT",
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        write_nifti(image, Path(folder) / "ct.nii.gz")
        return (Path(folder) / "ct.nii.gz").read_bytes()


async def questions_of(server: Server) -> list[Question]:
    """Text alone, images in the request, uploaded volumes, both; greedy, sampled, in a given form."""
    client = server.client()
    files = [
        await client.files.create(file=(f"{n}.nii.gz", volume(n)), purpose="user_data") for n in range(4)
    ]
    shown: list[list[dict[str, Any]]] = [[]]
    shown += [[{"type": "image_url", "image_url": {"url": png_url(seed)}}] for seed in range(4)]
    shown += [[{"type": "volume", "volume": {"file_id": file.id}}] for file in files]
    shown += [[*shown[1], *shown[5]]]
    ways: list[dict[str, Any]] = [
        {}, {"temperature": 0.8, "seed": 7, "n": 2}, {"extra_body": {"guided_choice": ["yes", "no", "unclear"]}},
    ]  # fmt: skip
    return [
        Question([*visuals, {"type": "text", "text": text}], ways[(number + place) % len(ways)])
        for place, visuals in enumerate(shown)
        for number, text in enumerate(QUESTIONS)
    ]


async def ask(client: openai.AsyncOpenAI, question: Question) -> tuple[str, ...]:
    answer = await client.chat.completions.create(**question.arguments())
    return tuple(choice.message.content or "" for choice in answer.choices)


async def stream(client: openai.AsyncOpenAI, question: Question, pause: float = 0.0) -> tuple[str, ...]:
    texts = [""] * question.options.get("n", 1)
    async for chunk in await client.chat.completions.create(**question.arguments(stream=True)):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
        await asyncio.sleep(pause)
    return tuple(texts)


def body_of(question: Question) -> dict[str, Any]:
    """The JSON that OpenAI's client would send."""
    body = question.arguments()
    return body | body.pop("extra_body", {})


async def send_slowly(server: Server, question: Question) -> tuple[str, ...]:
    """A request that comes in twenty pieces within a second."""
    data = json.dumps(body_of(question)).encode()
    size = len(data) // 20 + 1

    async def pieces() -> AsyncIterator[bytes]:
        for place in range(0, len(data), size):
            yield data[place : place + size]
            await asyncio.sleep(0.05)

    headers = {"Authorization": f"Bearer {KEYS[0]}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(timeout=120) as client:
        address = f"{server.address}/v1/chat/completions"
        answer = await client.post(address, content=pieces(), headers=headers)
        answer.raise_for_status()
        return tuple(choice["message"]["content"] for choice in answer.json()["choices"])


async def vanish(server: Server, question: Question, chance: random.Random) -> None:
    """Send a request and leave: before the answer, or after its beginning."""
    body = body_of(question) | {"max_tokens": 400, "stream": chance.random() < 0.5}
    headers = {"Authorization": f"Bearer {KEYS[0]}"}
    async with httpx.AsyncClient(timeout=httpx.Timeout(30, read=chance.uniform(0.01, 0.5))) as client:
        try:
            address = f"{server.address}/v1/chat/completions"
            async with client.stream("POST", address, json=body, headers=headers) as response:
                async for _ in response.aiter_bytes():
                    break
        except httpx.TimeoutException:
            pass


def bad_uploads() -> list[bytes]:
    """A zip that grows without measure, one that names a file outside, a cut scan, and no scan at all."""
    bomb, link = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(30_000_000))
    with zipfile.ZipFile(link, "w") as archive:
        archive.writestr("../../../etc/passwd", "no scan")
    return [bomb.getvalue(), link.getvalue(), volume(0)[:-5000], b"no scan", b""]


async def bad_upload(server: Server, chance: random.Random) -> bool:
    try:
        data = chance.choice(bad_uploads())
        await server.client().files.create(file=("scan.zip", data), purpose="user_data")
    except openai.BadRequestError:
        return True
    return False


async def bad_request(server: Server, question: Question, chance: random.Random) -> bool:
    """Another key's upload, an address, a file of the host, a wrong key, no JSON."""
    other, stranger = server.client(KEYS[1]), server.client("nobody's key at all")
    name = next(
        (part["volume"] for part in question.content if part["type"] == "volume"), {"file_id": "file-x"}
    )
    parts = [
        {"type": "volume", "volume": name}, {"type": "image_url", "image_url": {"url": "http://127.0.0.1/x.png"}},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
    ]  # fmt: skip
    turns = [{"role": "user", "content": [chance.choice(parts)]}]
    client = chance.choice([other, stranger])
    try:
        await client.chat.completions.create(model="medmvl", messages=turns)  # type: ignore[arg-type]
    except (openai.BadRequestError, openai.NotFoundError, openai.AuthenticationError):
        return True
    return False


async def one(
    server: Server, kind: str, question: Question, expected: tuple[str, ...], chance: random.Random, tally: Tally
) -> None:  # fmt: skip
    started = time.perf_counter()
    client = server.client()
    if kind == "vanish":
        await vanish(server, question, chance)
        tally.counts["left"] += 1
    elif kind in ("bad upload", "bad request"):
        refused = await (
            bad_upload(server, chance) if kind == "bad upload" else bad_request(server, question, chance)
        )
        tally.counts["refused" if refused else "NOT REFUSED"] += 1
    else:
        if kind == "whole":
            answer = await ask(client, question)
        elif kind == "slow to send":
            answer = await send_slowly(server, question)
        else:
            answer = await stream(client, question, 0.1 if kind == "slow to read" else 0.0)
        tally.counts["answered"] += 1
        tally.seconds.append(time.perf_counter() - started)
        if answer != expected:
            tally.wrong.append(f"{kind}: expected {expected}, got {answer}")


async def load(
    server: Server, asked: list[Question], expected: list[tuple[str, ...]], count: int, at_once: int, seed: int
) -> Tally:  # fmt: skip
    """Send `count` requests, `at_once` at a time."""
    chance, tally, gate = random.Random(seed), Tally(), asyncio.Semaphore(at_once)
    kinds = chance.choices(list(SHARES), list(SHARES.values()), k=count)

    async def gated(kind: str, place: int) -> None:
        async with gate:
            try:
                await one(server, kind, asked[place], expected[place], chance, tally)
            except (openai.OpenAIError, httpx.HTTPError) as error:
                tally.counts["LOST"] += 1
                tally.wrong.append(f"{kind}: {type(error).__name__} {error}")

    await asyncio.gather(*(gated(kind, chance.randrange(len(asked))) for kind in kinds))
    return tally


async def shut_down(
    server: Server, asked: list[Question], expected: list[tuple[str, ...]]
) -> tuple[int, int, float]:
    """SIGTERM while questions wait: how many were asked, how many answered rightly, and seconds to the end."""
    places = list(range(len(asked)))
    client = server.client().with_options(max_retries=0)
    tasks = [asyncio.ensure_future(ask(client, asked[place])) for place in places]
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {KEYS[0]}"}) as looker:
        while True:  # until every one has been taken in
            await asyncio.sleep(0.02)
            figures = (await looker.get(f"{server.address}/metrics")).text
            waiting = sum(float(n) for n in re.findall(r"^medmvl_waiting\S* (\S+)", figures, re.MULTILINE))
            if waiting >= len(places) // 2 or any(task.done() for task in tasks):
                break
    started = time.perf_counter()
    server.process.send_signal(signal.SIGTERM)
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    while server.process.poll() is None:
        await asyncio.sleep(0.05)
    right = sum(answer == expected[place] for answer, place in zip(answers, places, strict=True))
    return len(places), right, time.perf_counter() - started


async def measure(server: Server, count: int, at_once: int) -> bool:
    asked = await questions_of(server)
    client = server.client()
    expected = [await ask(client, question) for question in asked]
    print(f"{len(asked)} different questions asked alone; {server.memory():.0f} MiB")
    good, memory = True, []
    for number in (1, 2):
        started = time.perf_counter()
        tally = await load(server, asked, expected, count, at_once, seed=number)
        seconds = time.perf_counter() - started
        memory.append(server.memory())
        cuts = statistics.quantiles(tally.seconds, n=20)
        print(
            f"round {number}: {count} requests, {at_once} at once, in {seconds:.1f} s: {dict(tally.counts)}; "
            f"mixed up or lost {len(tally.wrong)}; median {cuts[9]:.2f} s, 95 % under {cuts[18]:.2f} s; "
            f"{memory[-1]:.0f} MiB"
        )
        for line in tally.wrong[:5]:
            print("  " + line[:300])
        good &= not tally.wrong and not {"LOST", "NOT REFUSED"} & tally.counts.keys()
    total, right, seconds = await shut_down(server, asked, expected)
    left = [path.name for path in server.uploads.iterdir() if path.name.startswith("medmvl-serve")]
    print(
        f"SIGTERM with {total} questions open: {right} answered rightly, ended in {seconds:.1f} s with code "
        f"{server.process.returncode}, {len(left)} uploads left"
    )
    quiet = not any("Traceback" in line for line in server.log)
    print(f"memory after round 2: {memory[1] / memory[0]:.2f} of round 1; tracebacks in the log: {not quiet}")
    return good and quiet and right == total and server.process.returncode in (0, -signal.SIGTERM) and not left \
        and memory[1] <= GROWTH * memory[0]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--at-once", type=int, default=24)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "uploads").mkdir()
        server = start(write_model(Path(folder) / "model"), Path(folder) / "uploads")
        try:
            held = asyncio.run(measure(server, options.requests, options.at_once))
        finally:
            if server.process.poll() is None:
                server.process.kill()
            server.process.wait()
    print("every claim held" if held else "A CLAIM FAILED")
    sys.exit(not held)


if __name__ == "__main__":
    main()

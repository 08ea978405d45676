"""Commands that are killed: each runs in a fork of this process, so that a trial costs what the command does and no imports."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.factories.forks import fork_medmvl

WRITES = {
    "os.rename",
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.chmod",
    "os.truncate",
    "fcntl.flock",
}
"""Audit events that change a folder; openings of files for writing count, too."""
SPENT = re.compile(
    rb'("?(seconds|training_seconds|evaluation_seconds|train_runtime|train_samples_per_second|train_steps_per_second'
    rb'|peak_bytes|date|issued|total_flos|stages_taken_over)"?: )[^,}\n]*'
)
"""What tells of the time that a run took: the only difference that is allowed."""
UNLIKE = (
    "tensorboard",
    "curves.png",
    "scores.png",
    "checkpoints",
    "page.html",
    "table.md",
    "index.html",
    "SHA256SUMS",
    "sr",
)
"""Files and folders that hold times or drawings of them; that they are there is compared."""


def start(
    arguments: Sequence[str],
    log: Path,
    *,
    kill_at: int = 0,
    count: Path | None = None,
    max_bytes: int = 0,
    cache: Path | None = None,
) -> int:
    """Run `medmvl ARGUMENTS` in a fork; returns its process id.

    Args:
        arguments: of the command.
        log: gets what it prints.
        kill_at: it kills itself with SIGKILL at this write; 0: never.
        count: a file that gets the number of writes at the end.
        max_bytes: no file may become larger, as where a disk is full; 0: any size.
        cache: the cache folder; None: that of this process.
    """
    writes: Callable[[], int] = int

    def before() -> None:
        nonlocal writes
        secrets.token_hex = lambda number=32: "ab" * number  # type: ignore[misc]  # so that two keys are equal
        writes = _count_writes(kill_at)
        if cache is not None:
            os.environ["MEDMVL_CACHE"] = str(cache)
        if max_bytes:
            resource.setrlimit(resource.RLIMIT_FSIZE, (max_bytes, max_bytes))

    def after() -> None:
        if count is not None:
            count.write_text(str(writes()))

    return fork_medmvl(arguments, log, before=before, after=after)


def _count_writes(kill_at: int) -> Callable[[], int]:
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        opened = (
            event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if event in WRITES or opened:
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: seen


def finish(child: int) -> int:
    """The exit code of a fork; minus the signal where one ended it."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def kill_after(child: int, seconds: float) -> int:
    """Let a fork run for some seconds, kill it, and return its exit code."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return finish(child)


def contents(folder: Path) -> dict[str, str]:
    """Every file below a folder by name with a digest of what it holds, times aside; hidden and unfinished ones, too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir():
            continue
        parts = set(name.split("/"))
        if "tensorboard" in parts or "checkpoints" in parts:
            continue  # a resumed run writes another event file; checkpoints hold times
        data = b"" if parts & set(UNLIKE) else path.read_bytes()
        if name.endswith("history.jsonl"):
            data = _without_summary(data)
        if name.endswith(".safetensors"):
            data = _in_order(data)
        data = SPENT.sub(rb"\1", data)
        found[name] = hashlib.sha256(data).hexdigest()[:12]
    return found


def _in_order(data: bytes) -> bytes:
    """A safetensors file with its header in order, as the library writes metadata in an order of chance."""
    length = int.from_bytes(data[:8], "little")
    return json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True).encode() + data[8 + length :]


def _without_summary(data: bytes) -> bytes:
    """The history without transformers' summary of the last process, which counts its own steps alone."""
    lines = [json.loads(line) for line in data.decode().splitlines()]
    return json.dumps([line for line in lines if "train_loss" not in line]).encode()

"""Mutated files of every format through `read`: how many abort a process, raise something foreign, hang, or print.

The claim: none. Valid files are made from a seed, then bytes are flipped, cut off, added, swapped, and header fields set to
extremes. Each runs in a child process that is watched: its death, an exception that is no UserError, more than the seconds
allowed, anything on standard output or error, and memory beyond what the file may become are findings. A finding is named by
its number, from which `--only` makes the same file again; no mutated file is kept in this repository.

    python benchmarks/fuzz_reading.py [--count 20000] [--seed 0] [--start 0] [--only N]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

SECONDS = 60.0
SPARE_MEMORY = 2**29
EXTREMES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
SECRET = "SECRETIVE^PATIENT"  # pragma: allowlist secret


def make_sources(folder: Path) -> None:
    """Write one small valid file of each format, compression and kind that is read."""
    from tests.factories.mutable_files import write_all

    write_all(folder)


def mutated(source: bytes, rng: random.Random) -> bytes:
    """Return the file with one to six changes."""
    data = bytearray(source)
    for _ in range(rng.randint(1, 6)):
        if not data:
            break
        rng.choice(MUTATIONS)(data, rng)
    return bytes(data)


def _place(data: bytearray, rng: random.Random) -> int:
    """Half of the changes go into the first 2 KiB, where headers are."""
    return rng.randrange(min(len(data), 2048) if rng.random() < 0.5 else len(data))


def _flip(data: bytearray, rng: random.Random) -> None:
    data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _byte(data: bytearray, rng: random.Random) -> None:
    data[_place(data, rng)] = rng.choice(
        (0, 1, 0x20, 0x2D, 0x30, 0x39, 0x5C, 0x7F, 0x80, 0xFE, 0xFF, rng.randrange(256))
    )


def _extreme(data: bytearray, rng: random.Random) -> None:
    """A number of 2, 4 or 8 bytes at its limits: lengths, dimensions, offsets."""
    size, order = rng.choice((2, 4, 8)), rng.choice("<>")
    value = rng.choice(EXTREMES) & (256**size - 1)
    at = _place(data, rng) & ~1
    if at + size <= len(data):
        data[at : at + size] = struct.pack(order + {2: "H", 4: "I", 8: "Q"}[size], value)


def _number(data: bytearray, rng: random.Random) -> None:
    """A number that is text becomes another: DICOM's IS and DS, NRRD's and MetaImage's fields."""
    digits = [at for at in range(min(len(data), 4096)) if 0x30 <= data[at] <= 0x39]
    if digits:
        at = rng.choice(digits)
        end = at
        while end < len(data) and 0x30 <= data[end] <= 0x39:
            end += 1
        new = rng.choice(
            (
                b"0",
                b"-1",
                b"1e9",
                b"999999999",
                b"99999999999999999999",
                b"nan",
                b"inf",
                b"1\\2",
                b"",
                b"\xff",
            )
        )
        data[at:end] = new[: end - at].ljust(end - at) if rng.random() < 0.5 else new


def _truncate(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def _lengthen(data: bytearray, rng: random.Random) -> None:
    at = rng.choice((len(data), _place(data, rng)))
    data[at:at] = rng.randbytes(rng.choice((1, 2, 7, 64, 4096)))


def _swap(data: bytearray, rng: random.Random) -> None:
    """Two pieces change places: tags out of order."""
    size = rng.choice((2, 4, 8, 16, 64))
    first, second = sorted((_place(data, rng), _place(data, rng)))
    if first + size <= second and second + size <= len(data):
        data[first : first + size], data[second : second + size] = (
            data[second : second + size],
            data[first : first + size],
        )


def _remove(data: bytearray, rng: random.Random) -> None:
    at = _place(data, rng)
    del data[at : at + rng.choice((1, 2, 4, 8, 200))]


def _repeat(data: bytearray, rng: random.Random) -> None:
    at, size = _place(data, rng), rng.choice((2, 8, 32, 256))
    data[at:at] = data[at : at + size]


MUTATIONS = (
    _flip,
    _flip,
    _byte,
    _byte,
    _extreme,
    _extreme,
    _number,
    _truncate,
    _lengthen,
    _swap,
    _remove,
    _repeat,
)


def case(number: int, seed: int, sources: list[Path], target: Path) -> Path:
    """Write mutated file `number` with its partners beside it; return its path."""
    rng = random.Random(f"{seed}-{number}")
    source = sources[number % len(sources)]
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    files = [one for one in source.parent.iterdir() if one.stem.split(".")[0] == source.stem.split(".")[0]]
    victim = rng.choice(files)
    for one in files:
        data = one.read_bytes()
        (target / one.name).write_bytes(mutated(data, rng) if one == victim else data)
    return target / source.name


def child(folder: Path, seed: int) -> None:
    """Read the cases whose numbers come on the input, and say how each ended."""
    sources = sorted(path for path in folder.iterdir() if path.suffix not in (".img", ".raw"))
    answers = os.fdopen(int(os.environ["FUZZ_ANSWERS"]), "w", buffering=1)
    for line in sys.stdin:
        number = int(line)
        path = case(number, seed, sources, folder.parent / "cases" / f"{os.getpid()}")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        ended = outcome(path)
        grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        if grown > SPARE_MEMORY:
            ended = f"memory: {grown / 2**20:.0f} MiB"
        answers.write(json.dumps({"number": number, "format": path.name, "ended": ended}) + "\n")


def outcome(path: Path) -> str:
    """Read a file and say how it ended: "read", "refused", "contained" (a codec ended its process), or what is wrong."""
    from medmvl.errors import UserError
    from medmvl.imaging import read

    try:
        image = read(path)
    except UserError as error:
        said = str(error)
        if str(path) not in said or SECRET in said:
            return f"foreign: message {said}"
        if "nobody foresaw" in said:
            return "unforeseen: " + said.rpartition("(")[2]
        return "contained" if "ended the process" in said or "reasonable time" in said else "refused"
    except BaseException as error:  # noqa: BLE001  what is counted here
        return f"foreign: {type(error).__name__} {error}"
    return "read" if image.array.size and image.array.dtype.kind in "iuf" else "foreign: empty image"


class Child:
    """A watched process that reads cases."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.read_end, write_end = os.pipe()
        self.noise = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--child", str(folder), "--seed", str(seed)],
            stdin=subprocess.PIPE, stdout=self.noise, stderr=self.noise, pass_fds=(write_end,), text=True,
            env={**os.environ, "FUZZ_ANSWERS": str(write_end)},
        )  # fmt: skip
        os.close(write_end)
        self.answers = os.fdopen(self.read_end)

    def ask(self, number: int) -> str:
        """Have one case read; say how it ended."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{number}\n")
        self.process.stdin.flush()
        start = time.monotonic()
        ready, _, _ = select.select([self.read_end], [], [], 10 * SECONDS)
        if not ready:
            self.process.kill()
            return "hang"
        line = self.answers.readline()
        if not line:
            status = self.process.wait()
            return f"abort: {signal.Signals(-status).name if status < 0 else status} {self.said()[-300:]}"
        ended = str(json.loads(line)["ended"])
        if time.monotonic() - start > SECONDS:
            return f"hang: {time.monotonic() - start:.0f} s"
        said = self.said()
        return f"printed: {said[:300]}" if said else ended

    def said(self) -> str:
        """What it printed since the last time."""
        self.noise.seek(0)
        text = self.noise.read().decode("utf-8", "replace").strip()
        self.noise.seek(0)
        self.noise.truncate()
        return text

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        self.answers.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="mutated files of every format")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--only", type=int, help="make one case again and keep it in the current folder")
    parser.add_argument("--seconds", type=float, default=1e9, help="stop after this many")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        child(options.child, options.seed)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "sources")
        folder.mkdir()
        make_sources(folder)
        if options.only is not None:
            sources = sorted(path for path in folder.iterdir() if path.suffix not in (".img", ".raw"))
            print(case(options.only, options.seed, sources, Path(f"fuzz-{options.only}")))
            return
        findings = run(folder, options)
    sys.exit(1 if findings else 0)


def run(folder: Path, options: argparse.Namespace) -> int:
    """Run the cases, print what was found and the counts; return the number of findings."""
    counts: Counter[str] = Counter()
    worker, began, number = Child(folder, options.seed), time.monotonic(), options.start
    for number in range(options.start, options.start + options.count):
        ended = worker.ask(number)
        kind = ended.partition(":")[0]
        counts[kind] += 1
        if kind not in ("read", "refused", "contained"):
            print(f"{number}: {ended}", flush=True)
        if kind in ("abort", "hang"):
            worker.close()
            worker = Child(folder, options.seed)
        if time.monotonic() - began > options.seconds:
            break
    worker.close()
    print(
        f"seed {options.seed}, cases {options.start} to {number}: {dict(counts)}, {time.monotonic() - began:.0f} s"
    )
    return sum(counts[kind] for kind in ("abort", "foreign", "unforeseen", "hang", "memory", "printed"))


if __name__ == "__main__":
    main()

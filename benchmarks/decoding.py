"""Compressed DICOM series: decoded in processes of their own, beside decoding in the reading process as it was before.

The claim: keeping the codecs apart costs under 5 % of time, and with two workers a series is faster. The other side is the
commit before the pool (295bc4a), taken out of this repository's history and run from a folder of its own. The sides take turns
in one run; CPU seconds are those of a reader and its workers. "first" is the first read of a process, with imports and starts.

    python benchmarks/decoding.py [--slices 300] [--size 512] [--repeats 3]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import gdcm
import numpy as np
from pydicom import uid

from medmvl.imaging.write import write_dicom_series

sys.path.insert(0, str(Path(__file__).parent))
import both_builds
from reading import make_scan

SYNTAXES = {
    "JPEG 2000 lossless": uid.JPEG2000Lossless, "JPEG-LS lossless": uid.JPEGLSLossless, "RLE": uid.RLELossless,
    "JPEG lossless": uid.JPEGLosslessSV1,
}  # fmt: skip
SIDES = {"before": 0, "1 worker": 1, "2 workers": 2}


def reader(workers: int) -> None:
    """One side: read the folder named on each line of the input, answer with seconds and a digest of the voxels."""
    for line in sys.stdin:
        cpu, wall = cpu_seconds(), time.perf_counter()
        import medmvl

        if workers:
            from medmvl.imaging import decode_pool

            decode_pool._shared = decode_pool._shared or decode_pool.DecodePool(limit=workers)
        image = medmvl.read(line.strip())
        took = {"wall": time.perf_counter() - wall, "cpu": cpu_seconds() - cpu}
        digest = hashlib.sha256(np.ascontiguousarray(image.array)).hexdigest()
        print(json.dumps({**took, "digest": digest}), flush=True)


def cpu_seconds() -> float:
    """CPU seconds of this process and its living children."""
    total = sum(os.times()[:4])
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for child in children:
        fields = Path("/proc", child, "stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


class Side:
    """A reading process of one side."""

    def __init__(self, name: str, source: Path) -> None:
        command = [sys.executable, __file__, "--reader", str(SIDES[name])]
        environment = {**os.environ, "PYTHONPATH": str(source)}
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def read(self, folder: Path) -> dict[str, float | str]:
        """Have a folder read; returns seconds and a digest."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{folder}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compress(source: Path, target: Path, syntax: str) -> int:
    """Write a series in another transfer syntax; return its size."""
    target.mkdir()
    for file in sorted(source.iterdir()):
        reading = gdcm.ImageReader()
        reading.SetFileName(str(file))
        assert reading.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
        change.SetInput(reading.GetImage())
        assert change.Change()
        writing = gdcm.ImageWriter()
        writing.SetFileName(str(target / file.name))
        writing.SetFile(reading.GetFile())
        writing.SetImage(change.GetOutput())
        assert writing.Write()
    return sum(file.stat().st_size for file in target.iterdir())


def measure(folder: Path, old: Path, repeats: int) -> None:
    """Print seconds and ratios of one series."""
    sources = {name: old if name == "before" else Path(__file__).parents[1] / "src" for name in SIDES}
    sides = {name: Side(name, source) for name, source in sources.items()}
    took: dict[str, list[dict[str, float | str]]] = {name: [] for name in SIDES}
    for _ in range(repeats + 1):
        for name, side in sides.items():
            took[name].append(side.read(folder))
    for side in sides.values():
        side.close()
    assert len({one["digest"] for many in took.values() for one in many}) == 1, (
        "the sides disagree about voxels"
    )
    for kind in ("wall", "cpu"):
        first = {name: float(many[0][kind]) for name, many in took.items()}
        later = {name: statistics.median(float(one[kind]) for one in many[1:]) for name, many in took.items()}
        for label, values in (("first", first), ("later", later)):
            ratios = "  ".join(
                f"{name} {values[name]:7.2f} s ({values[name] / values['before']:.2f} x)" for name in SIDES
            )
            print(f"  {kind:<5}{label:<6} {ratios}")


def main() -> None:
    parser = argparse.ArgumentParser(description="decoding in processes of their own")
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--syntax", choices=[*SYNTAXES], action="append", help="default: all")
    parser.add_argument("--reader", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reader is not None:
        reader(options.reader)
        return
    with tempfile.TemporaryDirectory() as name:
        earlier = both_builds.before(Path(name))
        plain = Path(name, "plain")
        write_dicom_series(make_scan(options.slices, options.size), plain, patient_pseudonym="benchmark")
        print(f"{options.slices} slices of {options.size} x {options.size}, median of {options.repeats}, "
              f"{len(os.sched_getaffinity(0))} cores; ratios to {both_builds.BEFORE}")  # fmt: skip
        for label in options.syntax or SYNTAXES:
            folder = Path(name, label.replace(" ", "-"))
            size = compress(plain, folder, SYNTAXES[label])
            print(f"{label} ({size / 2**20:.0f} MiB)")
            measure(folder, earlier, options.repeats)


if __name__ == "__main__":
    main()

"""Memory of reading a CT as MSIIP/MedM-VL's models do, by each of their conventions: today's build and that of 295bc4a.

Peak of the process while a NIfTI file of 300 slices of 512 x 512 becomes voxels for the model, above what it held before; the
voxels of both sides are compared by a checksum. The floor is the scan itself, in 16 bits.

    python benchmarks/volume_memory.py [--slices 300] [--size 512] [--repeats 1]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import both_builds
import numpy as np

SIDES = ("now", "before")
CONVENTIONS = {
    "medm_vl_slices": [32, 256, 256],
    "medm_vl_m3d_clip": [32, 256, 256],
    "medm_vl_medm_clip": [64, 256, 256],
}


def write_scan(path: Path, slices: int, size: int) -> None:
    """A body in air: noise, so that no value repeats along a line."""
    import nibabel

    rng = np.random.default_rng(0)
    values = np.full((size, size, slices), -1000, np.int16)
    body = np.s_[size // 8 : -size // 8, size // 6 : -size // 6]
    values[body] = rng.integers(-900, 1500, values[body].shape, dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-0.7, -0.7, 1.0, 1.0])), path)


def read_side(folder: Path, convention: str) -> dict[str, float]:
    """MiB at the peak of one reading, its CPU seconds, and a checksum of the voxels."""
    import torch

    from medmvl.imaging import read
    from medmvl.models.volume_processing import VolumeProcessor

    torch.set_num_threads(1)
    settings: dict[str, Any] = {"size": CONVENTIONS[convention], "plane": "axial", "convention": convention}
    processor = VolumeProcessor.from_settings(settings)
    processor(read(folder / "warm.nii", units="HU"))
    before = _memory("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    began = time.process_time()
    voxels = processor(read(folder / "scan.nii", units="HU"))[0]
    spent, peak = time.process_time() - began, _memory("VmHWM") - before
    return {"MiB": peak, "cpu": spent, "checksum": zlib.crc32(voxels.numpy().data)}


def _memory(name: str) -> float:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--side", choices=SIDES)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--convention", choices=CONVENTIONS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(read_side(options.folder, options.convention)))
        return
    with tempfile.TemporaryDirectory() as name:
        write_scan(Path(name, "warm.nii"), 8, 64)
        write_scan(Path(name, "scan.nii"), options.slices, options.size)
        print(f"{options.slices} slices of {options.size} x {options.size}: "
              f"{options.slices * options.size**2 * 2 / 2**20:.0f} MiB in 16 bits")  # fmt: skip
        for convention in CONVENTIONS:
            print(f"\n{convention}")
            more = ["--folder", name, "--convention", convention]
            found = both_builds.in_turns(__file__, SIDES, options.repeats, more)
            assert len({row.pop("checksum") for row in found.values()}) == 1, "the voxels differ"
            both_builds.print_table(found, ("MiB", "cpu"))


if __name__ == "__main__":
    main()

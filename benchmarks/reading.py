"""Reading a scan to a canonical float32 tensor: ours beside MONAI, the same synthetic files, one run.

The claim: a DICOM series and a NIfTI file of one CT, read with orientation, spacing and units settled, cost no
more than with MONAI's LoadImage + Orientation, and both give the same voxels. The floor is the bytes: reading them
(and inflating what is compressed) without understanding them. Prints medians and ratios of one run.

    python benchmarks/reading.py [--slices 120] [--size 512] [--repeats 5]
"""

from __future__ import annotations

import argparse
import gzip
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch

from medmvl.imaging import MedicalImage, read
from medmvl.imaging.write import write_dicom_series, write_nifti


def make_scan(slices: int, size: int) -> MedicalImage:
    """A CT of smooth tissue and noise, so that it compresses about as well as a real one."""
    rng = np.random.default_rng(0)
    tissue = 800.0 * np.sin(np.linspace(0, 3, size))[:, None] * np.cos(np.linspace(0, 5, size))[None]
    array = (tissue - 200 + rng.normal(0, 15, (slices, size, size))).astype(np.int16)
    affine = np.array(
        [[0, 0, -0.7, 180], [0, -0.7, 0, 180], [2.5, 0, 0, -150], [0, 0, 0, 1]], dtype=np.float64
    )
    return MedicalImage(
        array=array, kind="volume", affine=affine, spacing_mm=(2.5, 0.7, 0.7), axcodes=("S", "P", "L"),
        acquired_axcodes=("S", "P", "L"), units="HU", modality="CT", source_format="synthetic",
    )  # fmt: skip


def ours(path: Path) -> torch.Tensor:
    return torch.from_numpy(read(path, units="HU").array.astype(np.float32))


@cache
def monai_transform(reader: str) -> Callable[[str], torch.Tensor]:
    from monai.transforms import Compose, LoadImage, Orientation

    load = LoadImage(reader=reader, image_only=True, ensure_channel_first=True, dtype=np.float32)
    return Compose([load, Orientation(axcodes="LPS", labels=None)])


def monai(path: Path) -> torch.Tensor:
    image = monai_transform("PydicomReader" if path.is_dir() else "NibabelReader")(str(path))
    return image.as_tensor()[0].permute(2, 1, 0).contiguous()


def floor(path: Path) -> torch.Tensor:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    blobs = [file.read_bytes() for file in files]
    size = sum(len(gzip.decompress(blob)) if blob[:2] == b"\x1f\x8b" else len(blob) for blob in blobs)
    return torch.tensor(size)


READERS: dict[str, Callable[[Path], torch.Tensor]] = {"ours": ours, "MONAI": monai, "bytes only": floor}


def measure(path: Path, repeats: int) -> dict[str, float]:
    """Median seconds a reader; they take turns, so that a slow moment of the machine hits all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in READERS}
    for turn in range(repeats + 1):
        for name, reader in READERS.items():
            start = time.perf_counter()
            reader(path)
            if turn:  # the first turn imports and fills the page cache
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="reading, beside MONAI")
    parser.add_argument("--slices", type=int, default=120)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    scan = make_scan(options.slices, options.size)
    with tempfile.TemporaryDirectory() as name:
        sources = {"DICOM series": Path(name, "series"), "NIfTI .nii": Path(name, "scan.nii")}
        sources["NIfTI .nii.gz"] = Path(name, "scan.nii.gz")
        write_dicom_series(scan, sources["DICOM series"], patient_pseudonym="benchmark")
        write_nifti(scan, sources["NIfTI .nii"])
        write_nifti(scan, sources["NIfTI .nii.gz"])
        print(f"{options.slices} slices of {options.size} x {options.size}, median of {options.repeats}, "
              f"{torch.get_num_threads()} threads")  # fmt: skip
        print(f"{'':<16}{'ours':>9}{'MONAI':>9}{'bytes':>9}{'MONAI/ours':>12}{'ours/bytes':>12}")
        for label, path in sources.items():
            same = torch.equal(ours(path), monai(path)) and torch.equal(
                ours(path), torch.from_numpy(scan.array).float()
            )
            assert same, f"{label}: the readers disagree"
            took = measure(path, options.repeats)
            ratios = took["MONAI"] / took["ours"], took["ours"] / took["bytes only"]
            cells = "".join(f"{took[name]:>8.3f}s" for name in READERS)
            print(f"{label:<16}{cells}{ratios[0]:>11.2f}x{ratios[1]:>11.2f}x")


if __name__ == "__main__":
    main()

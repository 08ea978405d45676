"""Time to the first token of ten questions about one CT of 512 x 512 x 300, reading included.

The claim: the tenth question costs at most a tenth of the first, as the engine keeps what it read, encoded and prefilled. The
model is the untrained tiny twin of medm-vl-ct-chest; the CT is noise in a folder of DICOM slices. The questions differ and go
through the scheduler, as the server's do. One question about another scan comes before, so that what a process pays
once is not counted as the first's. Exit code 1 where the claim fails.

    python benchmarks/first_token.py [--slices 300] [--size 512] [--format dicom|nifti]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

QUESTIONS = (
    "Is there a nodule?", "Which lobe?", "Is there an effusion?", "On which side?", "Is the heart enlarged?",
    "Write a short report.", "Are the lungs clear?", "Is there a pneumothorax?", "What changed?", "Describe the ribs.",
)  # fmt: skip
CLAIM = 0.1


def write_scan(path: Path, slices: int, size: int, format_: str) -> Path:
    from medmvl.imaging import MedicalImage
    from medmvl.imaging.write import write_nifti
    from medmvl.imaging.write_dicom import write_dicom_series

    array = np.random.default_rng(0).integers(-1000, 1000, (slices, size, size)).astype(np.int16)
    affine = np.array([[0, 0, -0.7, 0], [0, -0.7, 0, 0], [1.0, 0, 0, 0], [0, 0, 0, 1]])
    image = MedicalImage(
        array=array, kind="volume", units="HU", source_format="numpy", spacing_mm=(1.0, 0.7, 0.7), affine=affine,
        axcodes=("S", "P", "L"), modality="CT",
    )  # fmt: skip
    if format_ == "dicom":
        write_dicom_series(image, path, patient_pseudonym="benchmark")
        return path
    path = path.with_suffix(".nii.gz")
    write_nifti(image, path)
    return path


def build_engine() -> Any:
    import transformers.models.auto.modeling_auto  # noqa: F401  (registers our classes)

    from medmvl.engine import Engine
    from medmvl.models.assemble import assemble
    from medmvl.training.recipe_files import load_recipe

    model, processor = assemble(load_recipe("medm-vl-ct-chest-tiny").model, texts=QUESTIONS, seed=0)
    return Engine(model, processor)


async def ask_all(engine: Any, warm: Path, scan: Path) -> list[float]:
    """Seconds until the first token of each question, one after another."""
    from medmvl.datasets.loader import BlockLoader
    from medmvl.engine import Failure, GenerationOptions, Request
    from medmvl.engine.scheduler import Scheduler
    from medmvl.schema import Message, TextBlock, VolumeBlock

    scheduler = Scheduler(engine)
    seconds = []
    for question, path in [(QUESTIONS[0], warm), *((question, scan) for question in QUESTIONS)]:
        blocks = (VolumeBlock(volume=str(path), units="HU"), TextBlock(text=question))
        started = time.perf_counter()
        load = engine.scans.wrap(BlockLoader(Path.cwd()))
        request = Request((Message(role="user", content=blocks),), load)
        outcome = await scheduler.answer(request, GenerationOptions(max_new_tokens=1))
        seconds.append(time.perf_counter() - started)
        assert not isinstance(outcome, Failure), outcome
    scheduler.close()
    return seconds[1:]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--format", choices=["dicom", "nifti"], default="dicom")
    options = parser.parse_args()
    engine = build_engine()
    with tempfile.TemporaryDirectory() as folder:
        warm = write_scan(Path(folder) / "warm", 8, 32, options.format)
        scan = write_scan(Path(folder) / "scan", options.slices, options.size, options.format)
        seconds = asyncio.run(ask_all(engine, warm, scan))
    first, tenth = seconds[0], seconds[-1]
    print(
        f"{options.slices} slices of {options.size} x {options.size}, {options.format}; seconds to the first token"
    )
    print("  " + "  ".join(f"{value:.4f}" for value in seconds))
    print(
        f"first {first:.3f} s   tenth {tenth * 1000:.1f} ms   ratio {tenth / first:.4f} (claim: at most {CLAIM})"
    )
    sys.exit(tenth > CLAIM * first)


if __name__ == "__main__":
    main()

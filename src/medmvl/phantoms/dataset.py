"""A data set of phantoms on disk that trains as it is: images, volumes, JSON Lines, and a `dataset.json`.

Same seed, same bytes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import medmvl
from medmvl.atomic_files import write_json
from medmvl.errors import UserError
from medmvl.json_types import JsonObject
from medmvl.outputs import whole_folder
from medmvl.phantoms.files import WRITERS
from medmvl.phantoms.patient import Patient, make_patient
from medmvl.phantoms.presets import Preset, get_preset
from medmvl.phantoms.questions import Study, View, make_samples
from medmvl.phantoms.render import Rendering, draw_ct, draw_xray
from medmvl.phantoms.streams import BLOCK
from medmvl.phantoms.text import LANGUAGES
from medmvl.schema import ImageBlock, Sample, VolumeBlock, write_samples
from medmvl.worker_processes import end_with_parent

Format = Literal["npy", "nifti", "dicom"]
SPLITS = ("train", "validation", "test")
STATEMENT = (
    "Synthetic phantoms, not patients and not medicine: a model trained on them knows nothing of medicine."
)


@dataclass(frozen=True)
class _Order:
    """What a worker needs to write one patient."""

    folder: Path
    seed: int
    preset: Preset
    format: Format


@dataclass(frozen=True)
class _Written:
    """One patient's samples, and the sizes of the findings."""

    samples: tuple[Sample, ...]
    sizes: tuple[tuple[str, float], ...]


def default_splits(patients: int) -> dict[str, int]:
    """Return 80 % train, 10 % validation, 10 % test, in whole blocks of 40 patients where they are enough."""
    unit = BLOCK if patients >= 10 * BLOCK else 1
    held_out = max(patients // 10 // unit * unit, 1 if patients >= 3 else 0)
    return {"train": patients - 2 * held_out, "validation": held_out, "test": held_out}


def write_dataset(
    out: Path,
    *,
    patients: int,
    seed: int = 0,
    preset: str | Preset = "quickstart",
    format: Format = "npy",
    splits: dict[str, int] | None = None,
    shape: tuple[int, int, int] | None = None,
    workers: int = 1,
    progress: Callable[[int], None] | None = None,
    wait: bool = False,
) -> JsonObject:
    """Write a data set and return its summary, which is also in `dataset.json`.

    Args:
        out: the folder; must not exist, be empty, or hold this very data set, which is then left as it is.
        patients: number of patients; patient `i` is the same in every data set of this seed and preset.
        seed: seed for everything.
        preset: a name in `presets.PRESETS` or a preset of your own.
        format: how volumes and images are stored.
        splits: patients in each of `train`, `validation`, `test`; consecutive patients, never divided.
        shape: (D, H, W) of the CT instead of the preset's; the X-ray keeps the preset's.
        workers: processes.
        progress: called with the number of patients written so far.
        wait: wait for another process that writes `out` instead of refusing.

    Raises:
        UserError: when the folder is not empty or the numbers do not fit.
    """
    splits = splits or default_splits(patients)
    _check(patients, splits, format, workers)
    chosen = get_preset(preset) if shape is None else replace(get_preset(preset), ct_shape=shape)
    about = _describe(chosen, seed, patients, format, splits)

    def write(folder: Path) -> None:
        written = _write_patients(_Order(folder, seed, chosen, format), patients, workers, progress)
        write_json(folder / "dataset.json", about | _write_splits(folder, written, splits))

    whole_folder(out, about | {"preset": chosen}, write, private=False, wait=wait)
    summary: JsonObject = json.loads((out / "dataset.json").read_text(encoding="utf-8"))
    return summary


def iter_patient_samples(patient: Patient, *, boxes: bool = True) -> Iterator[Sample]:
    """Yield a patient's samples with `phantom://` references, without pixels; `source.load` renders them.

    Boxes are known after drawing; without them nothing is drawn.
    """
    from medmvl.phantoms.source import reference

    for view in ("ct", "xray"):
        if _asks(patient.preset, view):
            drawn = _draw(patient, view).findings if boxes else ()
            block = _block(view, reference(patient, view), {})
            earlier = patient.at_prior()
            prior = None
            if earlier is not None and patient.prior is not None:
                days = {"days_before_current": patient.prior.days_before}
                prior = _block(view, reference(earlier, view), days)
            yield from make_samples(patient, Study(view, block, drawn, prior))


def _check(patients: int, splits: dict[str, int], format: str, workers: int) -> None:
    if patients < 1 or workers < 1:
        raise UserError(f"{patients} patients by {workers} workers; expected at least one of each")
    if (
        set(splits) - set(SPLITS)
        or any(count < 0 for count in splits.values())
        or sum(splits.values()) != patients
    ):
        told = ", ".join(f"{count} {name}" for name, count in splits.items())
        raise UserError(
            f"splits {told}: expected shares of {', '.join(SPLITS)} that add up to {patients} patients"
        )
    if format not in WRITERS:
        raise UserError(f"unknown format '{format}'; known formats: {', '.join(WRITERS)}")


def _write_patients(
    order: _Order, patients: int, workers: int, progress: Callable[[int], None] | None
) -> Iterator[_Written]:
    """Yield patients in order, from this process or several."""
    work = partial(_write_patient, order)
    if workers == 1:
        results: Iterator[_Written] = map(work, range(patients))
        yield from _counted(results, progress)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as pool:
        yield from _counted(pool.map(work, range(patients), chunksize=8), progress)


def _counted(results: Iterator[_Written], progress: Callable[[int], None] | None) -> Iterator[_Written]:
    for count, result in enumerate(results, 1):
        if progress is not None:
            progress(count)
        yield result


def _write_patient(order: _Order, index: int) -> _Written:
    patient = make_patient(order.seed, index, order.preset)
    samples: list[Sample] = []
    for view in ("ct", "xray"):
        if _asks(order.preset, view):
            study = _write_study(order, patient, view)
            samples.extend(make_samples(patient, study))
    return _Written(
        tuple(samples), tuple((finding.finding_type, finding.size) for finding in patient.findings)
    )


def _asks(preset: Preset, view: View) -> bool:
    return bool(preset.ct_questions if view == "ct" else preset.xray_questions)


def _draw(patient: Patient, view: View) -> Rendering:
    return draw_ct(patient) if view == "ct" else draw_xray(patient)


def _write_study(order: _Order, patient: Patient, view: View) -> Study:
    """Write the current and the prior image of one view."""
    rendering = _draw(patient, view)
    block = _write_image(order, patient, view, rendering)
    earlier, prior = patient.at_prior(), None
    if earlier is not None and patient.prior is not None:
        prior = _write_image(
            order, earlier, view, _draw(earlier, view), days_before_current=patient.prior.days_before
        )
    return Study(view, block, rendering.findings, prior)


def _write_image(
    order: _Order, patient: Patient, view: View, rendering: Rendering, **extra: int
) -> VolumeBlock | ImageBlock:
    name = f"{patient.pseudonym}_{view}" + ("_prior" if patient.study else "")
    folder = "volumes" if view == "ct" else "images"
    path = WRITERS[order.format](rendering.image, order.folder / folder / name, patient)
    declared = extra if order.format == "dicom" else _declarations(rendering, order.format) | extra
    return _block(view, path.relative_to(order.folder).as_posix(), declared)


def _declarations(rendering: Rendering, format: Format) -> JsonObject:
    """What the file itself cannot say."""
    image = rendering.image
    if format == "nifti" and image.kind == "volume":
        return {"units": image.units, "modality": image.modality}
    return {
        "units": image.units, "spacing_mm": image.spacing_mm, "axcodes": image.axcodes,
        "modality": image.modality,
    }  # fmt: skip


def _block(view: View, path: str, declared: JsonObject) -> VolumeBlock | ImageBlock:
    return VolumeBlock(volume=path, **declared) if view == "ct" else ImageBlock(image=path, **declared)


def _write_splits(folder: Path, written: Iterator[_Written], splits: dict[str, int]) -> JsonObject:
    """Write one JSON Lines file per split, and one report per study for alignment and label training."""
    answers: Counter[tuple[str, str, str]] = Counter()
    sizes: dict[str, list[float]] = {}
    counts = {}
    for split in [split for split in SPLITS if splits.get(split)]:
        samples: list[Sample] = []
        for patient in islice(written, splits[split]):
            samples.extend(patient.samples)
            for finding_type, size in patient.sizes:
                sizes.setdefault(finding_type, []).append(size)
        counts[split] = write_samples(folder / f"{split}.jsonl", samples)
        write_samples(folder / f"{split}_reports.jsonl", one_report_per_study(samples))
        for sample in samples:
            assert sample.target is not None
            if sample.target.choices:
                answers[sample.target.question_type, sample.language or "", sample.target.answers[0]] += 1
    return {
        "samples": counts,
        "answers": _nested(answers),
        "finding_sizes": {
            finding_type: _size_summary(values) for finding_type, values in sorted(sizes.items())
        },
    }


def one_report_per_study(samples: list[Sample]) -> list[Sample]:
    """Keep the report samples, English and Chinese by turns: each image once."""
    reports = [s for s in samples if s.target is not None and s.target.question_type.endswith("_report")]
    kept, seen = [], set()
    for number, start in enumerate(range(0, len(reports), len(LANGUAGES))):
        sample = reports[start + number // 2 % len(LANGUAGES)]
        assert sample.image_group not in seen
        seen.add(sample.image_group)
        kept.append(sample)
    return kept


def _nested(answers: Counter[tuple[str, str, str]]) -> dict[str, dict[str, dict[str, int]]]:
    nested: dict[str, dict[str, dict[str, int]]] = {}
    for (question_type, language, answer), count in sorted(answers.items()):
        nested.setdefault(question_type, {}).setdefault(language, {})[answer] = count
    return nested


def _size_summary(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    middle = ordered[len(ordered) // 2]
    return {
        "n": len(ordered),
        "min": round(ordered[0], 3),
        "median": round(middle, 3),
        "max": round(ordered[-1], 3),
    }


def _describe(preset: Preset, seed: int, patients: int, format: Format, splits: dict[str, int]) -> JsonObject:
    return {
        "statement": STATEMENT,
        "generator": f"medmvl.phantoms {medmvl.__version__}",
        "preset": preset.name,
        "seed": seed,
        "patients": patients,
        "format": format,
        "ct_shape": list(preset.ct_shape),
        "xray_shape": list(preset.xray_shape),
        "splits": splits,
    }

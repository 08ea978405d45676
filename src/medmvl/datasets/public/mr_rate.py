"""MR-RATE (2026): brain and spine MR studies of several series, with reports and 37 labels.

Layout (huggingface.co/datasets/Forithmus/MR-RATE): `splits.csv` (`patient_uid`, `study_uid`, `split`),
`reports/batch*_reports.csv` (`study_uid`, `findings`, `impression`), `metadata/batch*_metadata.csv` (a row per series:
`study_uid`, `series_id`, `SeriesNumber`, `anon_study_date`), `pathology_labels/mrrate_labels.csv` (`study_uid`, then 0 or 1
per pathology), and a study each in `mri/batch*/<study_uid>.zip`, or unpacked next to it, whose
`img/<study_uid>_<series_id>.nii.gz` are its series. Zips are unpacked into the new folder, images alone, without masks;
unpacked studies are read where they are.
Checked in `dataset_guide.md`, `scripts/hf/download.py` and the README of preprocessing of github.com/forithmus/MR-RATE:
folders, columns, what a zip holds, numbers of patients and studies, the table of labels. Not checked, as the data are
gated: the 37 names, which are taken as they come, and how `split` and dates are spelled. The registered and atlas forms
(`_coreg`, `_atlas`) are not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from medmvl.datasets.gathering.archives import write_volumes
from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import question
from medmvl.datasets.gathering.readers import iter_csv, text_field
from medmvl.datasets.gathering.reports import joined
from medmvl.datasets.public_dataset import PublicDataset
from medmvl.errors import ReadError, UserError
from medmvl.schema import VolumeBlock
from medmvl.tasks.benchmark import Benchmark

SPLITS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
NUM_LABELS = 37
ASK = "Write the report of this MR study."
SUFFIX = ".nii.gz"


@dataclass
class _Study:
    """What the tables say about one study."""

    patient: str
    split: str
    series: dict[str, float] = field(default_factory=dict)
    """Series to its number, which is the order of acquisition."""
    day: date | None = None


def gather(found: Collection) -> None:
    """Take the report of every study, with all its series."""
    reports = sorted((found.raw / "reports").glob("*.csv"))
    if not reports or not (found.raw / "splits.csv").is_file():
        raise UserError(f"{found.raw}: expected splits.csv, reports/*.csv and mri/batch*/")
    studies = _studies(found)
    latest = _latest(studies)
    labels = _labels(found)
    folders = _folders(found.raw / "mri")
    for table in reports:
        for number, row in enumerate(iter_csv(found.table(table))):
            with found.record(f"{table.name}, row {number + 1}"):
                name = text_field(row, "study_uid")
                if name not in studies:
                    raise UserError(f"splits.csv has neither the study {name} nor its patient")
                study = studies[name]
                report = joined(row.get("findings", ""), row.get("impression", ""))
                sample = question(
                    f"mr_rate-{name}",
                    _series(found, name, study, folders.get(name)),
                    ASK,
                    report,
                    question_type="report",
                    patient=f"mr-rate:{study.patient}",
                    study=f"mr-rate:{name}",
                    labels=labels.get(name, {}),
                    days_before_current=(latest[study.patient] - study.day).days if study.day else None,
                    task="mr_rate",
                )
                found.add(sample, study.split)


def _studies(found: Collection) -> dict[str, _Study]:
    """Every study; splits are by patient, so one that only the metadata names goes where its patient is."""
    studies: dict[str, _Study] = {}
    splits: dict[str, str] = {}
    for row in iter_csv(found.table(found.raw / "splits.csv")):
        said, patient = text_field(row, "split"), text_field(row, "patient_uid")
        if said.lower() not in SPLITS:
            raise UserError(
                f"{found.raw / 'splits.csv'}: expected {', '.join(SPLITS)} as split, found {said!r}"
            )
        split = splits.setdefault(patient, SPLITS[said.lower()])
        if split != SPLITS[said.lower()]:
            raise UserError(f"{found.raw / 'splits.csv'}: the patient {patient} is in {split} and in {said}")
        if row.get("study_uid"):
            studies[row["study_uid"]] = _Study(patient, split)
    for line in _metadata(found):
        name, patient = text_field(line, "study_uid"), line.get("patient_uid", "")
        if name not in studies and patient in splits:
            studies[name] = _Study(patient, splits[patient])
        study = studies.get(name)
        if study is None:
            continue
        study.series[text_field(line, "series_id")] = _number(line.get("SeriesNumber", ""))
        study.day = study.day or _date(line.get("anon_study_date", ""))
    return studies


def _metadata(found: Collection) -> Iterator[Mapping[str, str]]:
    tables = sorted((found.raw / "metadata").glob("*_metadata.csv"))
    if not tables:
        found.note("no metadata/*_metadata.csv: series stand in the order of their names, without dates")
    for table in tables:
        yield from iter_csv(found.table(table))


def _latest(studies: Mapping[str, _Study]) -> dict[str, date]:
    """Patient to the date of the latest study."""
    latest: dict[str, date] = {}
    for study in studies.values():
        if study.day is not None:
            latest[study.patient] = max(study.day, latest.get(study.patient, study.day))
    return latest


def _labels(found: Collection) -> dict[str, dict[str, float]]:
    """Study to its labels: 1 present, 0 absent, no entry unknown."""
    path = found.raw / "pathology_labels" / "mrrate_labels.csv"
    if not path.is_file():
        found.note("no table of pathology labels")
        return {}
    labels: dict[str, dict[str, float]] = {}
    for row in iter_csv(found.table(path)):
        name = text_field(row, "study_uid")
        labels[name] = {
            key: _label(path, name, key, row[key]) for key in row if key != "study_uid" and row[key]
        }
        if len(row) - 1 != NUM_LABELS:
            found.note(f"studies with {len(row) - 1} columns of labels; {NUM_LABELS} are published")
    return labels


def _label(path: Path, study: str, name: str, text: str) -> float:
    if text.strip() not in ("0", "1", "0.0", "1.0"):
        raise UserError(f"{path}: expected 0 or 1 as {name!r} of {study}, found {text!r}")
    return float(text)


def _folders(mri: Path) -> dict[str, Path]:
    """Study to its folder or, where it is not unpacked, its archive."""
    places = {path.stem: path for path in sorted(mri.glob("*/*.zip"))}
    return places | {path.name: path for path in sorted(mri.glob("*/*")) if path.is_dir()}


def _series(found: Collection, name: str, study: _Study, place: Path | None) -> list[VolumeBlock]:
    """The series of a study in the order of their acquisition."""
    if place is None:
        raise ReadError(f"neither mri/*/{name}.zip nor a folder of that name is there")
    if place.is_dir():
        files = {path.name: path for path in (place / "img").glob(f"*{SUFFIX}")}
        volumes = {file: found.volume(path) for file, path in files.items()}
    else:
        volumes = write_volumes(found, place, f"{name}/img", SUFFIX)
    names = {file.removesuffix(SUFFIX).removeprefix(f"{name}_"): said for file, said in volumes.items()}
    missing = sorted(set(study.series) - set(names))
    if missing or not names:
        raise ReadError(f"study {name}: no img/ of {', '.join(missing) or 'any series'} in {place.name}")
    order = sorted(names, key=lambda series: (study.series.get(series, float("inf")), series))
    return [VolumeBlock(volume=names[series], modality="MR") for series in order]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("inf")


def _date(text: str) -> date | None:
    """A date as `2020-01-31` or `20200131`, or None where none is given."""
    if not text.strip():
        return None
    try:
        return date.fromisoformat(text.strip().split(" ")[0].split(".")[0])
    except ValueError:
        raise UserError(f"expected a date such as 2020-01-31 as anon_study_date, found {text!r}") from None


MR_RATE_REPORT = Benchmark(
    name="mr-rate-report", title="MR-RATE, report of a study of several series", data="mr-rate", question_types=("report",),
)  # fmt: skip

DATASET = PublicDataset(
    name="mr-rate",
    title="MR-RATE",
    licence="CC BY-NC-SA 4.0: non-commercial; gated, accept its data use agreement before the download",
    url="https://huggingface.co/datasets/Forithmus/MR-RATE",
    layout="splits.csv, reports/, metadata/, pathology_labels/mrrate_labels.csv, mri/batch*/<study>.zip or <study>/img/",
    size="705,254 series, 98,334 studies, 83,425 patients: 75,000 / 3,425 / 5,000",
    split="the official one, by patient",
    gather=gather,
    tasks=(MR_RATE_REPORT,),
)

"""MIMIC-CXR (Johnson et al. 2019, PhysioNet): 377,110 chest X-rays of 227,835 studies of 65,379 patients.

Layout: MIMIC-CXR-JPG 2.0.0 or later with `mimic-cxr-2.0.0-{split,metadata,chexpert}.csv[.gz]` and
`files/p10/p10000032/s50414267/*.jpg`, and the reports of MIMIC-CXR, `s50414267.txt` next to the folder of the
study or below `mimic-cxr-reports/` (physionet.org/content/mimic-cxr-jpg). The official split is by patient.
Sections are found as in github.com/MIT-LCP/mimic-cxr (`txt/section_parser.py`): headers in capitals.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medmvl.datasets.gathering.chest_xray import View, take_report
from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.readers import iter_csv, text_field
from medmvl.datasets.gathering.reports import findings_and_impression, joined
from medmvl.datasets.pseudonyms import Pseudonyms
from medmvl.datasets.public_dataset import PublicDataset
from medmvl.errors import ReadError, UserError
from medmvl.tasks.benchmark import Benchmark

SPLITS = {"train": "train", "validate": "validation", "test": "test"}
REPORT_FOLDERS = ("files", "mimic-cxr-reports/files", "reports/files")
CERTAIN = {"1.0": 1.0, "1": 1.0, "0.0": 0.0, "0": 0.0}
"""CheXpert writes -1 where a report is uncertain, and nothing where it does not say: neither is a label."""


class _Study:
    """Images of one study."""

    def __init__(self, subject: str, split: str) -> None:
        self.subject = subject
        self.split = split
        self.views: list[View] = []


def gather(found: Collection) -> None:
    """Take the report of every study that has findings or an impression."""
    names = Pseudonyms.from_file(found.out.with_name(f"{found.out.name}.key"))
    labels = _labels(found)
    for number, study in _studies(found).items():
        with found.record(f"study s{number}"):
            text = _report(found.raw, study.subject, number)
            findings, impression = findings_and_impression(text)
            if not findings and not impression:
                found.note("reports with neither findings nor an impression")
                continue
            patient = names.of("patient", study.subject)
            name = names.of("study", study.subject, number)
            take_report(
                found,
                f"mimic_cxr-{name}",
                study.views,
                joined(findings, impression),
                study.split,
                labels=labels.get(number, {}),
                patient=patient,
                study=name,
                task="mimic_cxr",
            )


def _studies(found: Collection) -> dict[str, _Study]:
    positions = {row["dicom_id"]: row.get("ViewPosition", "") for row in iter_csv(_table(found, "metadata"))}
    studies: dict[str, _Study] = {}
    for row in iter_csv(_table(found, "split")):
        image, study, subject = (text_field(row, key) for key in ("dicom_id", "study_id", "subject_id"))
        split = SPLITS.get(text_field(row, "split"))
        if split is None:
            raise UserError(f"split of {image}: expected {', '.join(SPLITS)}, found {row['split']!r}")
        path = found.raw / "files" / f"p{subject[:2]}" / f"p{subject}" / f"s{study}" / f"{image}.jpg"
        known = studies.setdefault(study, _Study(subject, split))
        known.views.append(View(path, positions.get(image, "")))
    return studies


def _table(found: Collection, what: str) -> Path:
    for suffix in (".csv.gz", ".csv"):
        path = found.raw / f"mimic-cxr-2.0.0-{what}{suffix}"
        if path.is_file():
            return found.table(path)
    raise UserError(f"{found.raw}: expected mimic-cxr-2.0.0-{what}.csv.gz of MIMIC-CXR-JPG")


def _labels(found: Collection) -> Mapping[str, dict[str, float]]:
    try:
        path = _table(found, "chexpert")
    except UserError:
        found.note("no table of CheXpert labels")
        return {}
    return {
        row["study_id"]: {name: CERTAIN[value] for name, value in row.items() if value in CERTAIN}
        for row in iter_csv(path)
    }


def _report(raw: Path, subject: str, study: str) -> str:
    for folder in REPORT_FOLDERS:
        path = raw / folder / f"p{subject[:2]}" / f"p{subject}" / f"s{study}.txt"
        if path.is_file():
            return path.read_text(encoding="utf-8", errors="replace")
    raise ReadError(f"its report s{study}.txt is missing")


MIMIC_CXR_REPORT = Benchmark(
    name="mimic-cxr-report", title="MIMIC-CXR, findings and impression", data="mimic-cxr",
    question_types=("report",), protocol="medevalkit",
)  # fmt: skip

DATASET = PublicDataset(
    name="mimic-cxr",
    title="MIMIC-CXR-JPG with the reports of MIMIC-CXR",
    licence="PhysioNet Credentialed Health Data License 1.5.0: training required, never share or send to "
    "third-party services",
    url="https://physionet.org/content/mimic-cxr-jpg",
    layout="mimic-cxr-2.0.0-{split,metadata,chexpert}.csv.gz, files/p10/p10000032/s50414267/*.jpg and "
    "s50414267.txt next to, or below mimic-cxr-reports/files/",
    size="377,110 images, 227,835 studies, 65,379 patients",
    split="the official one, by patient",
    gather=gather,
    tasks=(MIMIC_CXR_REPORT,),
)

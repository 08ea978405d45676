"""CT-RATE (Hamamci et al., arXiv 2403.17834): chest CT with reports, 18 abnormalities, questions, conversations.

Layout (huggingface.co/datasets/ibrahimhamamci/CT-RATE): below `dataset/`, volumes
`{train_fixed,valid_fixed}/train_1/train_1_a/train_1_a_1.nii.gz`, `radiology_text_reports/*_reports.csv`
(`VolumeName`, `Findings_EN`, `Impressions_EN`), `multi_abnormality_labels/*_predicted_labels.csv`,
`metadata/*_metadata.csv` (`RescaleSlope`, `RescaleIntercept`, `XYSpacing`, `ZSpacing`, `StudyDate`),
`vqa/{train,valid}_vqa.json`. Volumes of a release without `_fixed` take slope, intercept and spacing from the table.
The published validation part (3,039 volumes, 1,564 studies, 1,304 patients) is written as test, as it is used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.ct_rate_questions import Turn, read_entry
from medmvl.datasets.gathering.questions import question
from medmvl.datasets.gathering.readers import iter_csv, iter_json, number_field, text_field
from medmvl.datasets.gathering.reports import ASK, joined
from medmvl.datasets.gathering.rescale import write_in_hounsfield
from medmvl.datasets.public_dataset import PublicDataset
from medmvl.errors import ReadError, UserError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.schema import Message, Sample, Target, TextBlock, VolumeBlock
from medmvl.tasks.benchmark import Benchmark

ABNORMALITIES = (
    "Medical material", "Arterial wall calcification", "Cardiomegaly", "Pericardial effusion",
    "Coronary artery wall calcification", "Hiatal hernia", "Lymphadenopathy", "Emphysema", "Atelectasis",
    "Lung nodule", "Lung opacity", "Pulmonary fibrotic sequela", "Pleural effusion",
    "Mosaic attenuation pattern", "Peribronchial thickening", "Consolidation", "Bronchiectasis",
    "Interlobular septal thickening",
)  # fmt: skip
SPLIT_PREFIXES = {"train": ("train",), "valid": ("valid", "validation")}
"""Part to the names its tables begin with."""
SPLITS = {"train": "train", "valid": "test"}


@dataclass
class Part:
    """What the tables say about the volumes of train or valid, by volume name."""

    reports: dict[str, tuple[str, str]] = field(default_factory=dict)
    labels: dict[str, dict[str, float]] = field(default_factory=dict)
    rescale: dict[str, tuple[float, float]] = field(default_factory=dict)
    spacing_mm: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """Columns, rows and slices, as NIfTI counts."""
    dates: dict[str, date] = field(default_factory=dict)
    """Study to its date."""

    latest: dict[str, date] = field(default_factory=dict)
    """Patient to the date of the latest study."""

    def days(self, study: str) -> int | None:
        """Days by which a study is older than the patient's latest one, where dates are known."""
        if study not in self.dates:
            return None
        return (self.latest[patient_of(study)] - self.dates[study]).days


def gather(found: Collection) -> None:
    """Take the report of every volume, and every question about it."""
    root = root_of(found.raw)
    for name, split in SPLITS.items():
        part = read_part(found, root, name)
        volumes = _Volumes(found, root, part, name, split)
        for volume, (findings, impression) in part.reports.items():
            with found.record(f"report of {volume}"):
                report = joined(findings, impression)
                found.add(
                    question(
                        f"ct_rate-report-{volume}",
                        [volumes.block(volume)],
                        ASK["ct"],
                        report,
                        question_type="report",
                        **volumes.identity(volume),
                    ),
                    split,
                )
        path = root / "vqa" / f"{name}_vqa.json"
        if path.is_file():
            for number, entry in enumerate(iter_json(found.table(path))):
                with found.record(f"{path.name}, entry {number + 1}"):
                    for sample in _questions(volumes, entry, f"{name}-{number:07d}"):
                        found.add(sample, split)
    if not found.entries and not found.bad:
        raise UserError(f"{found.raw}: expected dataset/radiology_text_reports/*.csv or dataset/vqa/*.json")


def root_of(raw: Path) -> Path:
    """The folder `dataset`, whether `raw` holds it or is it."""
    return raw / "dataset" if (raw / "dataset").is_dir() else raw


def read_part(found: Collection, root: Path, name: str) -> Part:
    """Read the tables of one part; those that are missing say nothing."""
    part = Part()
    for row in _rows(found, root / "radiology_text_reports", name, "reports.csv"):
        part.reports[text_field(row, "VolumeName")] = (
            row.get("Findings_EN", ""),
            row.get("Impressions_EN", ""),
        )
    for row in _rows(found, root / "multi_abnormality_labels", name, "predicted_labels.csv"):
        part.labels[text_field(row, "VolumeName")] = {
            label: number_field(row, label) for label in ABNORMALITIES if row.get(label)
        }
    for row in _rows(found, root / "metadata", name, "metadata.csv"):
        volume = text_field(row, "VolumeName")
        if row.get("RescaleSlope") and row.get("RescaleIntercept"):
            part.rescale[volume] = (number_field(row, "RescaleSlope"), number_field(row, "RescaleIntercept"))
        if row.get("XYSpacing") and row.get("ZSpacing"):
            part.spacing_mm[volume] = _spacing(row)
        if row.get("StudyDate"):
            study = study_of(volume)
            part.dates[study] = day = _date(row["StudyDate"])
            part.latest[patient_of(study)] = max(day, part.latest.get(patient_of(study), day))
    return part


def study_of(volume: str) -> str:
    """`train_1_a_1.nii.gz` is a reconstruction of the study `train_1_a` of the patient `train_1`."""
    parts = volume.removesuffix(".nii.gz").split("_")
    if len(parts) != 4:
        raise UserError(f"{volume!r} is no volume name such as train_1_a_1.nii.gz")
    return "_".join(parts[:3])


def patient_of(study: str) -> str:
    """`train_1_a` is a study of the patient `train_1`."""
    return study.rsplit("_", 1)[0]


def identity_of(volume: str) -> JsonObject:
    """Patient and study as all data sets made from CT-RATE name them, so that leaks between those are seen."""
    study = study_of(volume).replace("test_", "valid_")
    return {"patient": f"ct-rate:{patient_of(study)}", "study": f"ct-rate:{study}"}


class _Volumes:
    """Blocks of volumes, each file looked at once."""

    def __init__(self, found: Collection, root: Path, part: Part, name: str, split: str) -> None:
        self.found = found
        self.part = part
        fixed = root / f"{name}_fixed"
        self.folder = fixed if fixed.is_dir() else root / name
        self.fixed = fixed.is_dir()
        self.split = split
        self._blocks: dict[str, VolumeBlock] = {}

    def block(self, volume: str) -> VolumeBlock:
        """The volume in Hounsfield units: the file itself or, of the release that is not, a copy.

        Raises:
            UserError: where it is missing, or nothing says how to rescale it.
        """
        if volume not in self._blocks:
            study = study_of(volume)
            path = self.folder / patient_of(study) / study / volume
            name = self.found.volume(path) if self.fixed else self._rescaled(path, volume)
            self._blocks[volume] = VolumeBlock(volume=name, units="HU", modality="CT")
        return self._blocks[volume]

    def identity(self, volume: str) -> JsonObject:
        """Patient, study and date of a volume, and which of the 18 abnormalities it shows."""
        return {
            **identity_of(volume),
            "task": "ct_rate",
            "labels": self.part.labels.get(volume, {}),
            "days_before_current": self.part.days(study_of(volume)),
        }

    def _rescaled(self, path: Path, volume: str) -> str:
        if not path.is_file():
            raise ReadError(f"the file {path.relative_to(self.found.raw)} is missing")
        if volume not in self.part.rescale:
            raise ReadError(f"the metadata table has no RescaleSlope and RescaleIntercept of {volume}")
        reference = f"volumes/{volume}"
        slope, intercept = self.part.rescale[volume]
        note = write_in_hounsfield(
            path, self.found.folder / reference, slope, intercept, self.part.spacing_mm.get(volume)
        )
        self.found.note("volumes copied because the release without _fixed does not hold Hounsfield units")
        if note is not None:
            self.found.note(note)
        return self.found.written(reference)


def _questions(volumes: _Volumes, entry: JsonMapping, id: str) -> Iterator[Sample]:
    volume = text_field(entry, "image")
    volume = volume if volume.endswith(".nii.gz") else f"{Path(volume).stem}.nii.gz"
    turns, conversation = read_entry(entry)
    turns = [turn for turn in turns if turn.question_type != "report" or volume not in volumes.part.reports]
    if not turns:
        return
    block, identity = volumes.block(volume), volumes.identity(volume)
    if conversation:
        yield _conversation(f"ct_rate-conversation-{id}", block, turns, identity)
        return
    for number, turn in enumerate(turns):
        yield question(
            f"ct_rate-{turn.question_type}-{id}-{number}",
            [block],
            turn.question,
            turn.answer,
            question_type=turn.question_type,
            choices=turn.choices,
            more_answers=turn.more_answers,
            **identity,
        )


def _conversation(id: str, block: VolumeBlock, turns: list[Turn], identity: JsonMapping) -> Sample:
    messages = []
    for number, turn in enumerate(turns):
        shown = (block,) if number == 0 else ()
        messages.append(Message(role="user", content=(*shown, TextBlock(text=turn.question))))
        messages.append(Message(role="assistant", content=(TextBlock(text=turn.answer),)))
    target = Target(question_type="conversation", answers=(turns[-1].answer,))
    return Sample(id=id, messages=tuple(messages), language="en", target=target, **identity)


def _rows(found: Collection, folder: Path, part: str, ending: str) -> Iterator[dict[str, str]]:
    for prefix in SPLIT_PREFIXES[part]:
        path = folder / f"{prefix}_{ending}"
        if path.is_file():
            yield from iter_csv(found.table(path))
            return
    found.note(f"no {part} table {folder.name}/*_{ending}")


def _spacing(row: Mapping[str, str]) -> tuple[float, float, float]:
    """`XYSpacing` is one number or two in brackets, such as `[0.7, 0.7]`."""
    try:
        in_plane = [float(number) for number in row["XYSpacing"].strip("[]() ").replace(",", " ").split()]
        spacing = (in_plane[0], in_plane[-1], float(row["ZSpacing"]))
    except (ValueError, IndexError):
        raise UserError("XYSpacing and ZSpacing are not numbers such as [0.7, 0.7] and 1.5") from None
    if len(in_plane) > 2 or not all(0 < step < 100 for step in spacing):
        raise UserError("XYSpacing and ZSpacing are not positive millimetres")
    return spacing


def _date(text: str) -> date:
    try:
        return datetime.strptime(text.split(".")[0].strip(), "%Y%m%d").date()
    except ValueError:
        raise UserError("a StudyDate that is not YYYYMMDD") from None


CT_RATE_REPORT = Benchmark(
    name="ct-rate-report", title="CT-RATE, report of every volume", data="ct-rate", question_types=("report",),
    protocol="medmvl-ctrate",
)  # fmt: skip
CT_RATE_REPORT_STUDY = Benchmark(
    name="ct-rate-report-study", title="CT-RATE, report, one volume a study", data="ct-rate",
    question_types=("report",), protocol="vlm3d", one_per="study",
)  # fmt: skip
CT_RATE_LONG = Benchmark(
    name="ct-rate-long", title="CT-RATE, long answers", data="ct-rate", question_types=("long",),
    protocol="medmvl-ctrate",
)  # fmt: skip
CT_RATE_SHORT = Benchmark(
    name="ct-rate-short", title="CT-RATE, short answers", data="ct-rate", question_types=("short",),
    protocol="medmvl-ctrate",
)  # fmt: skip
CT_RATE_CHOICE = Benchmark(
    name="ct-rate-choice", title="CT-RATE, multiple choice", data="ct-rate", question_types=("choice",),
    protocol="medmvl-ctrate",
)  # fmt: skip
CT_RATE_CONVERSATION = Benchmark(
    name="ct-rate-conversation", title="CT-RATE, conversations, last turn", data="ct-rate",
    question_types=("conversation",), protocol="ctchat",
)  # fmt: skip

DATASET = PublicDataset(
    name="ct-rate",
    title="CT-RATE",
    licence="CC BY-NC-SA 4.0: non-commercial; accept its terms before the download",
    url="https://huggingface.co/datasets/ibrahimhamamci/CT-RATE",
    layout="dataset/{train_fixed,valid_fixed}/train_1/train_1_a/*.nii.gz, radiology_text_reports/, "
    "multi_abnormality_labels/, metadata/, vqa/",
    size="train 47,149 volumes, 24,128 studies, 20,000 patients; validation 3,039 / 1,564 / 1,304",
    split="train as published; the published validation part is test",
    gather=gather,
    tasks=(
        CT_RATE_REPORT,
        CT_RATE_REPORT_STUDY,
        CT_RATE_LONG,
        CT_RATE_SHORT,
        CT_RATE_CHOICE,
        CT_RATE_CONVERSATION,
    ),
)

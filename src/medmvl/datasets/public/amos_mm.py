"""AMOS-MM (MICCAI 2024 challenge): reports by region of the body, and multiple choice, about abdominal CT.

Layout (era-ai-biomed.github.io/amos): `report_generation_train_val.json` and `vqa_train_val.json`, or one `dataset.json`
with both: `training` and `validation`, lists of `{"image": "./imagesTr/amos_0001.nii.gz", "labels": {"report": {"findings":
{"chest", "abdomen", "pelvis"}}, "qa": [{"question", "options": {"A": ...}, "answer"}]}}`; scans in `imagesTr/`, `imagesVa/`.
The challenge's test labels are hidden, so its validation part is written as test, as it is used.
Checked in public code that reads it (github.com/bowang-lab/AMOS-MM-Solution among it): files, fields, findings by region,
four options and a letter; and that three scans are in both folders, of which the tables name those of validation.
Not checked: impressions, which are not asked for. Scans that hold several phases (4D) are left to `medmvl data check`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import choice_question, options_by_letter, question
from medmvl.datasets.gathering.readers import as_records, below, load_object, text_field
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import UserError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.schema import VolumeBlock
from medmvl.tasks.benchmark import Benchmark

TABLES = ("dataset.json", "report_generation_train_val.json", "vqa_train_val.json")
SPLITS = {"training": "train", "validation": "test"}
REGIONS = ("chest", "abdomen", "pelvis")
ASK = "Describe the findings of the {region} in this CT."


def gather(found: Collection) -> None:
    """Take reports and questions of every table that is there."""
    tables = [found.raw / name for name in TABLES if (found.raw / name).is_file()]
    if not tables:
        raise UserError(f"{found.raw}: expected {TABLES[1]} and {TABLES[2]}, or {TABLES[0]}")
    if len(tables) > 1 and tables[0].name == TABLES[0]:
        raise UserError(f"{found.raw}: {TABLES[0]} repeats the other tables; leave it or them out")
    for table in tables:
        parts = load_object(found.table(table))
        if not set(SPLITS) & set(parts):
            raise UserError(
                f"{table}: expected {' and '.join(SPLITS)}, found {', '.join(parts) or 'nothing'}"
            )
        for name, split in SPLITS.items():
            for number, record in enumerate(as_records(parts.get(name, []), f"{table}, {name}")):
                with found.record(f"{table.name}, {name} {number + 1}"):
                    _take(found, record, split)


def _take(found: Collection, record: JsonMapping, split: str) -> None:
    name = text_field(record, "image")
    case = PurePosixPath(name).name.removesuffix(".gz").removesuffix(".nii")
    labels = record.get("labels")
    if not isinstance(labels, Mapping) or not {"report", "qa"} & set(labels):
        raise UserError(f"{case}: expected labels with report or qa")
    block = VolumeBlock(volume=found.volume(below(found.raw, name)), units="HU", modality="CT")
    shared: JsonObject = {"patient": f"amos:{case}", "study": f"amos:{case}", "task": "amos_mm"}
    if "report" in labels:
        for region, text in _findings(found, labels["report"]).items():
            asked, question_type = ASK.format(region=region), f"{region}_report"
            found.add(
                question(
                    f"amos_mm-{question_type}-{case}",
                    [block],
                    asked,
                    text,
                    question_type=question_type,
                    **shared,
                ),
                split,
            )
    for number, asked_for in enumerate(as_records(labels.get("qa", []), f"{case}, qa")):
        with found.record(f"{case}, qa {number + 1}"):
            sample = choice_question(
                f"amos_mm-choice-{case}-{number:03d}",
                [block],
                text_field(asked_for, "question"),
                options_by_letter(asked_for.get("options")),
                text_field(asked_for, "answer"),
                **shared,
            )
            found.add(sample, split)


def _findings(found: Collection, report: object) -> dict[str, str]:
    """Region to its findings, of those that the scan shows."""
    findings = report.get("findings") if isinstance(report, Mapping) else None
    if not isinstance(findings, Mapping):
        raise UserError("expected findings by region in its report")
    for other in set(findings) - set(REGIONS):
        found.note(f"reports with findings of {other!r}, which is none of {', '.join(REGIONS)}")
    texts = {region: " ".join(str(findings.get(region) or "").split()) for region in REGIONS}
    return {region: text for region, text in texts.items() if text}


AMOS_MM_REPORT = Benchmark(
    name="amos-mm-report", title="AMOS-MM, findings by region", data="amos-mm", question_types=("*_report",),
)  # fmt: skip
AMOS_MM_CHOICE = Benchmark(
    name="amos-mm-choice", title="AMOS-MM, multiple choice", data="amos-mm", question_types=("choice",),
    prompts={"en": "{question}\nAnswer with the letter of the right option."},
)  # fmt: skip

DATASET = PublicDataset(
    name="amos-mm",
    title="AMOS-MM",
    licence="CC BY-ND 4.0 by its tables, as a public copy reports: no derivatives may be shared",
    url="https://era-ai-biomed.github.io/amos/dataset.html",
    layout="report_generation_train_val.json, vqa_train_val.json, imagesTr/*.nii.gz, imagesVa/*.nii.gz",
    size="1,287 training and 400 validation scans",
    split=AS_PUBLISHED + "; the published validation part is test",
    gather=gather,
    tasks=(AMOS_MM_REPORT, AMOS_MM_CHOICE),
)

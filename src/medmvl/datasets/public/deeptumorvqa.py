"""DeepTumorVQA 2 (Chen et al., arXiv 2505.18915): 42 types of question about tumours in abdominal CT, in four stages.

Layout (huggingface.co/datasets/tumor-vqa/DeepTumorVQA_2.0): `benchmark/test_qa.jsonl` (or `test_qa.json` with
`questions`), records with `qid`, `image_id`, `question`, `answer`, `mc_question` (`... A: Normal B: Mild`),
`correct_option`, `question_type` (the stage), `question_subtype`; scans `benchmark/ct/BDMAP_*/ct.nii.gz`, else one slice
each in `benchmark/images_2d/whole/*.png`. Training questions are `train/train_qa.csv`; their scans are AbdomenAtlas 3.0
Mini's, expected in `train/ct/`, else `train/images_2d/whole/`.
Checked in `HF_README.md`, `subtype_schema.csv`, `data/loader.py` and `eval/metrics.py` of github.com/Schuture/DeepTumorVQA:
files, fields, subtypes and their stages, accuracy by stage over all its questions. Not checked: that the columns of
`train_qa.csv` are named as the fields, and what is between options. The pool `val_qa_pool.csv` is not read: the
benchmark was drawn from it. Scans are from 17 public sets, AMOS and MSD among them: leaks between those are not seen.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import LETTERS, Visual, choice_question, question
from medmvl.datasets.gathering.readers import as_records, below, iter_csv, iter_json, load_object, text_field
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import ReadError, UserError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.schema import ImageBlock, VolumeBlock
from medmvl.tasks.benchmark import Benchmark

STAGES: dict[str, tuple[str, ...]] = {
    "recognition": (
        "PDAC existence", "PNET existence", "colon lesion existence", "kidney cyst existence",
        "kidney lesion existence", "kidney tumor existence", "liver lesion existence",
        "pancreatic lesion existence", "splenomegaly detection",
    ),
    "measurement": (
        "lesion volume measurement", "organ HU measurement", "organ HU ratio", "organ volume measurement",
        "tumor burden percentage",
    ),
    "visual reasoning": (
        "adjacent organ", "bilateral kidney asymmetry", "inter-segment comparison", "kidney volume comparison",
        "largest lesion attenuation", "largest lesion diameter", "largest lesion location",
        "largest lesion slice", "lesion count by location", "lesion counting", "lesion outlier",
        "liver lesion clustering", "multi-organ lesion burden comparison", "organ aggregation",
        "organ enlargement", "tumor organ HU difference",
    ),
    "medical reasoning": (
        "PDAC vs PNET classification", "fatty liver", "hepatic steatosis grading", "lesion type classification",
        "pancreatic cyst resectability", "pancreatic lesion resectability", "pancreatic steatosis",
        "pancreatic tumor staging", "portal hypertension assessment", "pseudocyst determination",
        "renal mass characterization", "splenomegaly grading",
    ),
}  # fmt: skip
"""Stage to its types of question."""
STAGE_OF = {subtype: stage for stage, subtypes in STAGES.items() for subtype in subtypes}
SPLITS = {"benchmark": "test", "train": "train"}
_OPTION = re.compile(r"(?:^|(?<=\s))([A-H])[:.)]\s+")


def gather(found: Collection) -> None:
    """Take every question of the benchmark, then those to train on."""
    tables = {name: table for name in SPLITS if (table := _table(found.raw / name)) is not None}
    if not tables:
        raise UserError(f"{found.raw}: expected benchmark/test_qa.jsonl, or train/train_qa.csv")
    for name, table in tables.items():
        for number, record in enumerate(_records(found.table(table))):
            with found.record(f"{name}/{table.name}, question {number + 1}"):
                _take(found, record, name, f"{SPLITS[name]}-{number:06d}")


def _table(folder: Path) -> Path | None:
    names = ("test_qa.jsonl", "test_qa.json", "train_qa.csv")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _records(table: Path) -> Iterable[JsonMapping]:
    if table.suffix == ".csv":
        return iter_csv(table)
    if table.suffix == ".json":
        return as_records(load_object(table).get("questions"), f"{table}, questions")
    return iter_json(table)


def _take(found: Collection, record: JsonMapping, folder: str, id: str) -> None:
    stage, subtype = _stage(record)
    case = text_field(record, "image_id")
    shown = [_shown(found, folder, case)]
    shared: JsonObject = {
        "patient": f"bdmap:{case}", "study": f"bdmap:{case}", "categories": (subtype,), "task": "deeptumorvqa",
    }  # fmt: skip
    asked, options = options_in(text_field(record, "mc_question"))
    letter = text_field(record, "correct_option")
    question_type = stage.replace(" ", "_")
    choice = choice_question(
        f"deeptumorvqa-choice-{id}",
        shown,
        asked,
        options,
        letter,
        question_type=f"choice_{question_type}",
        **shared,
    )
    free = question(
        f"deeptumorvqa-open-{id}",
        shown,
        text_field(record, "question"),
        text_field(record, "answer"),
        question_type=f"open_{question_type}",
        **shared,
    )
    found.add(choice, SPLITS[folder])
    found.add(free, SPLITS[folder])


def _stage(record: JsonMapping) -> tuple[str, str]:
    """The stage and type of a question, which must belong together.

    Raises:
        UserError: the type is none of the 42, or of another stage.
    """
    stage, subtype = text_field(record, "question_type").lower(), text_field(record, "question_subtype")
    if subtype not in STAGE_OF:
        raise UserError(f"the question_subtype {subtype!r} is none of the {len(STAGE_OF)} published ones")
    if STAGE_OF[subtype] != stage:
        raise UserError(
            f"{subtype!r} is published as {STAGE_OF[subtype]}, but its question_type is {stage!r}"
        )
    return stage, subtype


def options_in(text: str) -> tuple[str, list[str]]:
    """The question, and the options that follow it: `Which grade? A: Normal B: Mild`.

    Raises:
        UserError: where no options A, B and so on end the text.
    """
    marks = list(_OPTION.finditer(text))
    first = next((place for place in reversed(range(len(marks))) if marks[place][1] == "A"), len(marks))
    marks = marks[first:]
    if len(marks) < 2 or "".join(mark[1] for mark in marks) != LETTERS[: len(marks)]:
        raise UserError("its mc_question ends in no options A:, B: and so on")
    ends = [*(mark.start() for mark in marks[1:]), len(text)]
    options = [text[mark.end() : end].strip(" \t\r\n,;") for mark, end in zip(marks, ends, strict=True)]
    if not all(options):
        raise UserError("one of the options in its mc_question is empty")
    return text[: marks[0].start()].strip(), options


def _shown(found: Collection, folder: str, case: str) -> Visual:
    """The scan where scans are there, else the one slice that stands for it."""
    scans = found.raw / folder / "ct"
    if scans.is_dir():
        return VolumeBlock(volume=found.volume(below(scans, case) / "ct.nii.gz"), units="HU", modality="CT")
    slices = found.raw / folder / "images_2d" / "whole"
    if not slices.is_dir():
        raise ReadError(f"neither {folder}/ct/ nor {folder}/images_2d/whole/ is there")
    found.note(f"questions about one slice of a scan, because {folder}/ct/ is not there")
    return ImageBlock(image=found.image(below(slices, f"{case}.png")))


DEEPTUMORVQA = Benchmark(
    name="deeptumorvqa", title="DeepTumorVQA 2, multiple choice, by stage", data="deeptumorvqa",
    question_types=("choice_*",), prompts={"en": "{question}\nAnswer with the letter of the right option."},
)  # fmt: skip
DEEPTUMORVQA_OPEN = Benchmark(
    name="deeptumorvqa-open", title="DeepTumorVQA 2, free answers, by stage", data="deeptumorvqa",
    question_types=("open_*",),
)  # fmt: skip

DATASET = PublicDataset(
    name="deeptumorvqa",
    title="DeepTumorVQA 2",
    licence="CC BY 4.0 for the questions; scans and slices have the licences of their 17 sources",
    url="https://huggingface.co/datasets/tumor-vqa/DeepTumorVQA_2.0",
    layout="benchmark/test_qa.jsonl with benchmark/ct/BDMAP_*/ct.nii.gz (or images_2d/whole/*.png); train/train_qa.csv",
    size="test: 10,000 questions about 991 scans; train: 428,050 about 8,334",
    split=AS_PUBLISHED,
    gather=gather,
    tasks=(DEEPTUMORVQA, DEEPTUMORVQA_OPEN),
)

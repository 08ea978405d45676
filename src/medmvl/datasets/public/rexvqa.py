"""ReXVQA (Pal et al., arXiv 2506.04353): multiple choice about chest X-ray studies, by five skills of reasoning.

Layout: `metadata/{train,valid,test}_vqa_data.json` of huggingface.co/datasets/rajpurkarlab/ReXVQA, each an object of
questions by id with `question`, `options` (`["A. ...", ...]`), `correct_answer` (a letter), `task_name` (the skill),
`category`, `ImagePath` (`../deid_png/...`), `StudyInstanceUid`, `PatientID`; images in `deid_png/` of ReXGradient-160K.
Checked in public code that reads it (github.com/carlesonielfa/gemma-4-good-rexvqa among it): files, fields, letters before
options, accuracy per group of questions. Not checked, as the data are gated: the five spellings of `task_name`, which
are taken as they come, and the licence. Patients and studies become keyed hashes; file names still carry the published ones.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import LETTERS, choice_question, option_text, options_by_letter
from medmvl.datasets.gathering.readers import below, load_object, text_field
from medmvl.datasets.pseudonyms import Pseudonyms
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import UserError
from medmvl.json_types import JsonMapping
from medmvl.schema import ImageBlock
from medmvl.tasks.benchmark import Benchmark

SPLITS = {"train": "train", "valid": "validation", "test": "test"}
_LETTER = re.compile(r"^\s*\(?([A-H])\)?\s*[:.)]")


def gather(found: Collection) -> None:
    """Take every question of every part that is there."""
    names = {name: found.raw / "metadata" / f"{name}_vqa_data.json" for name in SPLITS}
    tables = {name: path for name, path in names.items() if path.is_file()}
    if not tables:
        raise UserError(f"{found.raw}: expected metadata/{{train,valid,test}}_vqa_data.json and deid_png/")
    hashes = Pseudonyms.from_file(found.out.with_name(f"{found.out.name}.key"))
    for name, path in tables.items():
        for number, record in enumerate(load_object(found.table(path)).values()):
            with found.record(f"{path.name}, question {number + 1}"):
                _take(found, hashes, record, f"rexvqa-{name}-{number:06d}", SPLITS[name])


def _take(found: Collection, hashes: Pseudonyms, record: object, id: str, split: str) -> None:
    if not isinstance(record, Mapping):
        raise UserError(f"expected a question with its fields, found {type(record).__name__}")
    skill = re.sub(r"[^a-z0-9]+", "_", text_field(record, "task_name").lower()).strip("_")
    study, patient = text_field(record, "StudyInstanceUid", "study_id"), record.get("PatientID")
    sample = choice_question(
        id,
        [ImageBlock(image=found.image(path)) for path in _image_paths(found.raw, record)],
        text_field(record, "question"),
        _options(record),
        text_field(record, "correct_answer"),
        question_type=f"choice_{skill}",
        categories=[str(record["category"])] if record.get("category") else (),
        patient=hashes.of("patient", str(patient)) if patient else None,
        study=hashes.of("study", study),
        task="rexvqa",
    )
    found.add(sample, split)


def _options(record: JsonMapping) -> list[str]:
    """The options without their letters, which must be A, B and so on."""
    options = record.get("options")
    if isinstance(options, Mapping):
        return options_by_letter(options)
    if not isinstance(options, list) or len(options) < 2:
        raise UserError("expected a list of at least two options")
    letters = [match[1] if (match := _LETTER.match(str(option))) else None for option in options]
    if any(letters) and "".join(letter or "?" for letter in letters) != LETTERS[: len(options)]:
        raise UserError(f"expected options that begin with A, B and so on, found {options}")
    return [option_text(str(option)) if any(letters) else str(option).strip() for option in options]


def _image_paths(raw: Path, record: JsonMapping) -> list[Path]:
    """The images of the study; the tables name them from the folder they lie in."""
    named = record.get("ImagePath")
    if not isinstance(named, list) or not named:
        raise UserError("expected a list of images as ImagePath")
    paths = []
    for name in named:
        parts = PurePosixPath(str(name)).parts
        while parts and parts[0] in ("..", "."):
            parts = parts[1:]
        inside = "/".join(parts[1:] if parts[:1] == ("deid_png",) else parts)
        paths.append(below(raw / "deid_png", inside))
    return paths


REXVQA = Benchmark(
    name="rexvqa", title="ReXVQA, multiple choice, by skill", data="rexvqa", question_types=("choice_*",),
    prompts={"en": "{question}\nAnswer with the letter of the right option."},
)  # fmt: skip

DATASET = PublicDataset(
    name="rexvqa",
    title="ReXVQA on ReXGradient-160K",
    licence="gated: accept the terms of ReXVQA and of ReXGradient-160K (non-commercial) before the download",
    url="https://huggingface.co/datasets/rajpurkarlab/ReXVQA",
    layout="metadata/{train,valid,test}_vqa_data.json, and deid_png/ of ReXGradient-160K",
    size="about 696,000 questions about 160,000 studies by its paper; 653,834 by its leaderboard",
    split=AS_PUBLISHED,
    gather=gather,
    tasks=(REXVQA,),
)

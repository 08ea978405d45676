"""M3D (Bai et al., arXiv 2404.00578): 120,092 3D scans of Radiopaedia with captions, and 509,755 questions.

Layout, as read by `LaMed/src/dataset/multi_dataset.py` of github.com/BAAI-DCAI/M3D:
`M3D_Cap_npy/M3D_Cap.json` (`{"train": [{"image": ...npy, "text": ...txt}], "validation", "test1k", ...}`), and
`M3D-VQA/M3D_VQA_{train,val,test}.csv` with `Image Path`, `Question Type`, `Question`, `Choice A` ... `Choice
D`, `Answer`, `Answer Choice`. Volumes are `(1, 32, 256, 256)`, scaled to 0 to 1: neither spacing nor
Hounsfield units are known any more. A case folder is a study: its volumes share one report and one split.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import LETTERS, options_of, question
from medmvl.datasets.gathering.readers import as_records, below, iter_csv, load_object, text_field
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import ReadError, UserError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.schema import VolumeBlock
from medmvl.tasks.benchmark import Benchmark

CAPTION_TEST = ("test1k", "test")
"""The benchmark's caption test is test1k; the other test lists repeat its source."""
CAPTION_FILES = ("M3D_Cap_npy/M3D_Cap.json", "M3D_Cap/M3D_Cap.json")
QUESTION_FILES = {"M3D_VQA_train.csv": "train", "M3D_VQA_val.csv": "validation", "M3D_VQA_test.csv": "test"}
TOPICS = {"1": "plane", "2": "phase", "3": "organ", "4": "abnormality", "5": "location"}
ASK = "Describe the findings of this medical image."


def gather(found: Collection) -> None:
    """Take captions and questions, whichever are there."""
    captions = next((found.raw / name for name in CAPTION_FILES if (found.raw / name).is_file()), None)
    if captions is not None:
        _gather_captions(found, captions)
    tables = [
        path
        for name in QUESTION_FILES
        for path in (found.raw / "M3D-VQA" / name, found.raw / name)
        if path.is_file()
    ]
    for path in tables:
        for number, row in enumerate(iter_csv(found.table(path))):
            with found.record(f"{path.name}, row {number + 1}"):
                _take_question(found, row, f"{path.stem}-{number:07d}", QUESTION_FILES[path.name])
    if captions is None and not tables:
        raise UserError(f"{found.raw}: expected {CAPTION_FILES[0]} or M3D-VQA/M3D_VQA_*.csv")


def _gather_captions(found: Collection, table: Path) -> None:
    parts = load_object(found.table(table))
    test = next((name for name in CAPTION_TEST if name in parts), None)
    for name, value in parts.items():
        records = as_records(value, f"{table}, {name}")
        split = "test" if name == test else name
        if split not in ("train", "validation", "test"):
            found.note(f"captions of the list {name}, which repeats others", len(records))
            continue
        for number, record in enumerate(records):
            with found.record(f"{table.name}, {name} {number + 1}"):
                _take_caption(found, record, f"{name}-{number:06d}", split)


def _take_caption(found: Collection, record: JsonMapping, id: str, split: str) -> None:
    name = text_field(record, "image")
    path = _find(found.raw, text_field(record, "text"))
    if not path.is_file():
        raise ReadError(f"its text {text_field(record, 'text')} is missing")
    report = " ".join(path.read_text(encoding="utf-8", errors="replace").split())
    if not report:
        raise UserError("its text is empty")
    block, study = _volume(found, name)
    found.add(
        question(f"m3d-report-{id}", [block], ASK, report, question_type="report", study=study, task="m3d"),
        split,
    )


def _take_question(found: Collection, row: Mapping[str, str], id: str, split: str) -> None:
    block, study = _volume(found, text_field(row, "Image Path"))
    topic = TOPICS.get(text_field(row, "Question Type").split(".")[0])
    if topic is None:
        raise UserError(f"expected a Question Type from 1 to 5, found {row['Question Type']!r}")
    asked, answer = text_field(row, "Question"), text_field(row, "Answer")
    shared: JsonObject = {"study": study, "task": "m3d"}
    found.add(
        question(f"m3d-open-{id}", [block], asked, answer, question_type=f"open_{topic}", **shared), split
    )
    letter, options = text_field(row, "Answer Choice").upper(), options_of(row, "Choice {}")
    if letter not in LETTERS[: len(options)] or len(letter) != 1:
        raise UserError(f"the choice {letter!r} is none of the letters of its {len(options)} options")
    found.add(
        question(
            f"m3d-choice-{id}",
            [block],
            with_choices(asked, options),
            f"{letter}. {answer}",
            question_type=f"choice_{topic}",
            choices=tuple(LETTERS[: len(options)]),
            more_answers=(letter, answer),
            **shared,
        ),
        split,
    )


def with_choices(asked: str, options: list[str]) -> str:
    """The question as M3D puts it: `... Choices: A. axial B. coronal`."""
    listed = " ".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))
    return f"{asked} Choices: {listed}"


def _volume(found: Collection, name: str) -> tuple[VolumeBlock, str]:
    parent = PurePosixPath(name).parent
    study = "m3d:" + "/".join(parent.parts[-2:])
    return VolumeBlock(volume=found.volume(_find(found.raw, name)), modality="CT"), study


def _find(raw: Path, name: str) -> Path:
    """A file as the tables name it; they say M3D_Cap where the prepared folder is M3D_Cap_npy."""
    first = below(raw, name)
    names = [name, name.replace("M3D_Cap/", "M3D_Cap_npy/", 1)]
    return next((raw / other for other in names if (raw / other).is_file()), first)


M3D_CAPTION = Benchmark(
    name="m3d-caption", title="M3D-Cap, reports", data="m3d", question_types=("report",), protocol="m3d"
)  # fmt: skip
M3D_CHOICE = Benchmark(
    name="m3d-choice", title="M3D-VQA, closed: four options", data="m3d", question_types=("choice_*",),
    protocol="m3d",
)  # fmt: skip
M3D_OPEN = Benchmark(
    name="m3d-open", title="M3D-VQA, open", data="m3d", question_types=("open_*",), protocol="m3d"
)  # fmt: skip

DATASET = PublicDataset(
    name="m3d",
    title="M3D-Cap and M3D-VQA",
    licence="Apache-2.0 by its card; scans and texts are from Radiopaedia, whose non-commercial terms apply",
    url="https://huggingface.co/datasets/GoodBaiBai88/M3D-Cap",
    layout="M3D_Cap_npy/M3D_Cap.json with its .npy and .txt files, M3D-VQA/M3D_VQA_{train,val,test}.csv",
    size="120,092 volumes with captions (test1k: 1,000), 509,755 questions",
    split=AS_PUBLISHED + "; all volumes of a case together",
    gather=gather,
    tasks=(
        M3D_CAPTION,
        M3D_CHOICE,
        M3D_OPEN,
    ),
)

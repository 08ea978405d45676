"""MedThinkVQA (ICLR 2026): diagnoses from several images of a case of Eurorad, with what each image shows.

Layout (huggingface.co/datasets/bio-nlp-umass/MedThinkVQA): `train.jsonl` and `test.jsonl`, a case each with `title`,
`CLINICAL_HISTORY`, `IMAGING_FINDINGS`, `options` (`{"A": ...}`), `correct_answer` (a letter), `ICD Chapter` (a category),
`is_longitudinal`, `image_count`, `image_01_path` to `image_49_path` (`images/case19254/6D-JPs9h.jpg`) and
`image_01_caption`.
Its three steps are three types of question: what one image shows (`caption`), what all show together (`report`), and
which of five diagnoses fits (`choice_single` and, where images are from several times, `choice_longitudinal`).
Checked in the README of github.com/benluwang/MedThinkVQA: files, fields with an example, numbers, licence. Not checked: the
wording of its prompts, which that repository does not hold; ours gives the clinical history and asks.
"""

from __future__ import annotations

import re

from medmvl.datasets.gathering.collection import Collection
from medmvl.datasets.gathering.questions import choice_question, options_by_letter, question
from medmvl.datasets.gathering.readers import below, iter_json, text_field
from medmvl.datasets.public_dataset import AS_PUBLISHED, PublicDataset
from medmvl.errors import UserError
from medmvl.json_types import JsonMapping, JsonObject
from medmvl.schema import ImageBlock
from medmvl.tasks.benchmark import Benchmark

TABLES = {"train.jsonl": "train", "test.jsonl": "test"}
ASK_CHOICE = "Clinical history: {history}\nWhich diagnosis fits these images best?"
ASK_REPORT = "Clinical history: {history}\nDescribe the findings of these images together."
ASK_CAPTION = "Clinical history: {history}\nDescribe the findings of this image."


def gather(found: Collection) -> None:
    """Take the three steps of every case."""
    tables = {found.raw / name: split for name, split in TABLES.items() if (found.raw / name).is_file()}
    if not tables:
        raise UserError(f"{found.raw}: expected {' and '.join(TABLES)}, and images/")
    for table, split in tables.items():
        for number, record in enumerate(iter_json(found.table(table))):
            with found.record(f"{table.name}, case {number + 1}"):
                _take(found, record, f"{split}-{number:05d}", split)


def _take(found: Collection, record: JsonMapping, id: str, split: str) -> None:
    shown = _image_blocks(found, record)
    history = text_field(record, "CLINICAL_HISTORY")
    case = text_field(record, "title").rsplit(" ", 1)[-1]
    shared: JsonObject = {"patient": f"eurorad:{case}", "task": "medthinkvqa"}
    times = "longitudinal" if _longitudinal(record) else "single"
    blocks = [block for block, _ in shown]
    steps = [
        choice_question(
            f"medthinkvqa-choice-{id}", blocks, ASK_CHOICE.format(history=history),
            options_by_letter(record.get("options")), text_field(record, "correct_answer"), question_type=f"choice_{times}",
            categories=[str(record["ICD Chapter"])] if record.get("ICD Chapter") else (), **shared,
        )
    ]  # fmt: skip
    if record.get("IMAGING_FINDINGS"):
        findings = text_field(record, "IMAGING_FINDINGS")
        asked = ASK_REPORT.format(history=history)
        steps.append(
            question(f"medthinkvqa-report-{id}", blocks, asked, findings, question_type="report", **shared)
        )
    for number, (block, caption) in enumerate(shown, start=1):
        if not caption:
            found.note("images without a caption")
            continue
        asked = ASK_CAPTION.format(history=history)
        steps.append(
            question(
                f"medthinkvqa-caption-{id}-{number:02d}",
                [block],
                asked,
                caption,
                question_type="caption",
                **shared,
            )
        )
    for sample in steps:
        found.add(sample, split)


def _longitudinal(record: JsonMapping) -> bool:
    said = record.get("is_longitudinal")
    if not isinstance(said, bool):
        raise UserError(f"expected true or false as is_longitudinal, found {said!r}")
    return said


def _image_blocks(found: Collection, record: JsonMapping) -> list[tuple[ImageBlock, str]]:
    """The images of a case with what is said of each, as many as it counts."""
    said = text_field(record, "image_count")
    if not re.fullmatch(r"[0-9]{1,3}", said) or int(said) < 1:
        raise UserError(f"expected a number of images as image_count, found {said!r}")
    count = int(said)
    shown = []
    for number in range(1, count + 1):
        path = below(found.raw, text_field(record, f"image_{number:02d}_path"))
        caption = str(record.get(f"image_{number:02d}_caption") or "").strip()
        shown.append((ImageBlock(image=found.image(path)), caption))
    if record.get(f"image_{count + 1:02d}_path"):
        raise UserError(f"image_count is {count}, but there is an image_{count + 1:02d}_path, too")
    return shown


MEDTHINKVQA = Benchmark(
    name="medthinkvqa", title="MedThinkVQA, diagnosis of five, several images", data="medthinkvqa",
    question_types=("choice_*",), prompts={"en": "{question}\nAnswer with the letter of the right option."},
)  # fmt: skip
MEDTHINKVQA_FINDINGS = Benchmark(
    name="medthinkvqa-findings", title="MedThinkVQA, findings of a case", data="medthinkvqa", question_types=("report",),
)  # fmt: skip
MEDTHINKVQA_CAPTION = Benchmark(
    name="medthinkvqa-caption", title="MedThinkVQA, findings of one image", data="medthinkvqa",
    question_types=("caption",),
)  # fmt: skip

DATASET = PublicDataset(
    name="medthinkvqa",
    title="MedThinkVQA",
    licence="CC BY-NC-SA 4.0: research and education only; cases are from Eurorad",
    url="https://huggingface.co/datasets/bio-nlp-umass/MedThinkVQA",
    layout="{train,test}.jsonl and images/case*/*.jpg",
    size="7,347 training and 720 test cases; 5,845 test images",
    split=AS_PUBLISHED,
    gather=gather,
    tasks=(MEDTHINKVQA, MEDTHINKVQA_FINDINGS, MEDTHINKVQA_CAPTION),
)

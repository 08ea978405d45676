"""VQA-RAD (Lau et al. 2018, CC0): questions about radiographs, CT and MR pictures, in its public layout.

The official test set shares 203 images with training; here a picture is in one split only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medmvl.data.writing import path_from, write_splits
from medmvl.errors import UserError
from medmvl.schema import ImageBlock, Message, Sample, Target, TextBlock

TABLE_NAMES = ("vqa.json", "VQA_RAD Dataset Public.json")
IMAGE_FOLDERS = ("images", "VQA_RAD Image Folder")
KINDS = {"CLOSED": "closed", "OPEN": "open"}
YES_NO = ("yes", "no")


def convert_vqa_rad(raw: Path, out: Path, fractions: Mapping[str, float], seed: int) -> dict[str, Any]:
    """Write the data set below `raw` as JSON Lines into `out` and return the summary.

    Raises:
        UserError: where the layout is another, or a picture is missing; the message names it.
    """
    table = next((raw / name for name in TABLE_NAMES if (raw / name).is_file()), None)
    folder = next((raw / name for name in IMAGE_FOLDERS if (raw / name).is_dir()), None)
    if table is None or folder is None:
        raise UserError(
            f"{raw}: expected {' or '.join(TABLE_NAMES)} and a folder {' or '.join(IMAGE_FOLDERS)}"
        )
    try:
        records = json.loads(table.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise UserError(f"{table}: not valid JSON ({error.msg}, line {error.lineno})") from None
    if not isinstance(records, list) or not records:
        raise UserError(f"{table}: expected a list of questions")
    samples = [_sample(record, number, folder, table, out) for number, record in enumerate(records)]
    about = {"source": "VQA-RAD", "license": "CC0 1.0", "questions": len(samples)}
    return write_splits(out, samples, fractions, seed, about)


def _sample(record: Mapping[str, Any], number: int, folder: Path, table: Path, out: Path) -> Sample:
    where = f"{table}, question {number + 1}"
    try:
        name, question, answer = record["image_name"], record["question"], record["answer"]
        kind = KINDS[str(record["answer_type"]).strip().upper()]
    except (KeyError, TypeError):
        raise UserError(
            f"{where}: needs image_name, question, answer, and CLOSED or OPEN as answer_type"
        ) from None
    if not (folder / name).is_file():
        raise UserError(f"{where}: the picture {name} is not in {folder}")
    text = str(answer).strip()
    choices = YES_NO if kind == "closed" and text.lower() in YES_NO else ()
    block = ImageBlock(image=path_from(out, folder / name))
    return Sample(
        id=f"vqa_rad-{number:05d}",
        messages=(
            Message(role="user", content=(block, TextBlock(text=str(question).strip()))),
            Message(role="assistant", content=(TextBlock(text=text),)),
        ),
        image_group=Path(name).stem,
        task="vqa_rad",
        language="en",
        target=Target(kind=kind, answers=(text,), choices=choices),
    )
